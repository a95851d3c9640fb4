"""What becomes of the work of a worker that is gone, or that has given it back."""

from __future__ import annotations

from penstock.scheduler.answers import Answers
from penstock.scheduler.deadlines import after
from penstock.scheduler.desk import Desk
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lines import Lines
from penstock.scheduler.retrying import error_unless_again
from penstock.scheduler.states import ATTEMPT, JOB, QUEUED
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
            self._lines.take_back(waiting, "lose")
            if waiting.id == started:
                self._blame(waiting, now)
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

    def unbegin(self, job: Job, now: float) -> None:
        """The worker was told to give the attempt back when it was about to begin it: the handler has not seen it."""
        job.attempts -= 1
        job.spent -= 1
        self._requeue(job, now)

    def _blame(self, attempt: Attempt, now: float) -> None:
        """The worker had begun this attempt of its line, and died, before anybody could see that it had begun."""
        for job in attempt.jobs:
            if job.state is QUEUED:
                job.started = now
                job.attempts += 1
                job.spent += 1
                job.deaths += 1
                self._restart_queue_time(job, now)
                error = error_unless_again(job, now)
                if error is not None:
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
        lane.queue.push_front(job)
        self._restart_queue_time(job, now)
        if lane.batching is not None:
            self._desk.plan_next_batch(lane, now)

    def _restart_queue_time(self, job: Job, now: float) -> None:
        job.start_by = after(now, job.timeouts.queue)
        self._desk.timers.arm(job, min(job.start_by, job.finish_by))
