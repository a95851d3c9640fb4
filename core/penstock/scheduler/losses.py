"""What becomes of the work of a worker that is gone, or that has given it back."""

from __future__ import annotations

from penstock.scheduler import events as on
from penstock.scheduler.answers import Answers
from penstock.scheduler.deadlines import after
from penstock.scheduler.desk import Desk
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lines import Lines
from penstock.scheduler.retrying import error_unless_again
from penstock.scheduler.states import ATTEMPT, JOB
from penstock.scheduler.workforce import Worker


class Losses:
    """Queues lost jobs again, or answers them."""

    __slots__ = ("_answers", "_desk", "_lines")

    def __init__(self, desk: Desk, lines: Lines, answers: Answers) -> None:
        self._desk = desk
        self._lines = lines
        self._answers = answers

    def lose_attempts(self, worker: Worker, now: float, started: int | None) -> None:
        """Settle what a worker that is gone still owed. ``started`` as in ``WorkerExited``; 0 spares all."""
        desk = self._desk
        while worker.line:
            waiting = worker.line.pop()
            for job in self._take_back(waiting, "lose", now):
                if waiting.id == started:
                    self._blame(job, now)
                else:
                    self._answers.watch(job, now)
        attempts = list(worker.attempts.values())
        worker.attempts.clear()
        for attempt in reversed(attempts):
            del desk.attempts[attempt.id]
            desk.timers.disarm(attempt)
            attempt.state = ATTEMPT[attempt.state]["lose"]
            is_innocent = started is not None and attempt.id != started
            for job in reversed(attempt.jobs):
                if job.attempt is attempt:
                    self._lose(job, now, is_innocent=is_innocent)

    def accept(self, event: on.Recalled, now: float) -> Worker | None:
        """Take back what a worker has not begun; return the worker, or None if there is nothing to take."""
        worker = self._desk.workers.get(event.worker)
        if worker is None or not worker.line:
            return None
        while worker.line and worker.line[-1].id > event.started:
            for job in self._take_back(worker.line.pop(), "recall", now):
                self._answers.watch(job, now)
        self._lines.watch(worker, now)  # what is left it has begun: what it says of the one before them is on its way
        return worker

    def _take_back(self, attempt: Attempt, happening: str, now: float) -> list[Job]:
        """The attempt was never begun: its jobs are where they were before."""
        del self._desk.attempts[attempt.id]
        attempt.state = ATTEMPT[attempt.state][happening]
        jobs = [job for job in attempt.jobs if job.attempt is attempt]
        for job in jobs:
            job.attempt = None
            job.lane.ahead -= 1
            job.lane.queue.push_front(job, now)
        return jobs

    def unbegin(self, job: Job, now: float) -> None:
        """The worker was told to give the attempt back when it was about to begin it: the handler has not seen it."""
        job.attempts -= 1
        job.spent -= 1
        self._requeue(job, now)

    def _blame(self, job: Job, now: float) -> None:
        """The worker had begun this job of its line, and died, before anybody could see that it had begun."""
        job.started = now
        job.attempts += 1
        job.spent += 1
        job.deaths += 1
        error = error_unless_again(job, now)
        if error is None:
            self._restart_queue_time(job, now)
        else:
            self._answers.answer(job, "fail", error, now)

    def _lose(self, job: Job, now: float, *, is_innocent: bool) -> None:
        """The job's worker is gone: queue the job again if that is safe and allowed, else answer it."""
        if is_innocent:
            job.spent -= 1
        else:
            job.deaths += 1
        error = error_unless_again(job, now)
        if error is None:
            self._requeue(job, now)
        else:
            self._answers.answer(job, "fail", error, now)

    def _requeue(self, job: Job, now: float) -> None:
        attempt = job.attempt
        assert attempt is not None
        lane = job.lane
        attempt.live -= 1
        lane.running -= 1
        job.attempt = None
        job.state = JOB[job.state]["requeue"]
        lane.queue.push_front(job, now)
        self._restart_queue_time(job, now)
        if lane.batching is not None:
            self._desk.plan_next_batch(lane, now)

    def _restart_queue_time(self, job: Job, now: float) -> None:
        job.start_by = after(now, job.timeouts.queue)
        self._answers.watch(job, now)
