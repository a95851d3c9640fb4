"""What becomes of the work of a worker that is gone, or that has given it back."""

from __future__ import annotations

from penstock.scheduler import events as on
from penstock.scheduler.answers import Answers
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.pools import Worker
from penstock.scheduler.requeueing import Again
from penstock.scheduler.retries import error_of_loss
from penstock.scheduler.sending_ahead import Lines
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import ATTEMPT, JOB


class Losses:
    """Finds out what was lost, and by whose fault."""

    __slots__ = ("_again", "_answers", "_desk", "_lines")

    def __init__(self, desk: SchedulerState, lines: Lines, answers: Answers, again: Again) -> None:
        self._desk = desk
        self._lines = lines
        self._answers = answers
        self._again = again

    def lose_attempts(self, worker: Worker, now: float, started: int | None) -> None:
        """Settle what a worker that is gone still owed. ``started`` as in ``WorkerExited``; 0 spares all."""
        desk = self._desk
        while worker.line:
            waiting = worker.line.pop()
            if waiting.id == started:
                self._blame(waiting, now)
            else:
                self._take_back(waiting, "lose", now)
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
            self._take_back(worker.line.pop(), "recall", now)
        self._lines.watch(worker, now)  # what is left it has begun: what it says of the one before them is on its way
        return worker

    def _take_back(self, attempt: Attempt, happening: str, now: float) -> None:
        """The attempt was never begun: its jobs are where they were before."""
        del self._desk.attempts[attempt.id]
        attempt.state = ATTEMPT[attempt.state][happening]
        for job in attempt.jobs:
            if job.attempt is attempt:
                job.attempt = None
                job.lane.ahead -= 1
                job.lane.queue.push_front(job, now)
                self._answers.watch(job, now)

    def _blame(self, attempt: Attempt, now: float) -> None:
        """The worker had begun this attempt of its line, and died, before anybody could see that it had begun."""
        del self._desk.attempts[attempt.id]
        attempt.state = ATTEMPT[attempt.state]["lose"]
        for job in attempt.jobs:
            if job.attempt is attempt:
                job.lane.ahead -= 1
                job.lane.running += 1
                job.started = now
                job.attempts += 1
                job.spent += 1
                job.state = JOB[job.state]["start"]
                self._lose(job, now, is_innocent=False)

    def _lose(self, job: Job, now: float, *, is_innocent: bool) -> None:
        """The job's worker is gone."""
        if is_innocent:
            job.spent -= 1
            self._again.spare(job, now)
        else:
            job.deaths += 1
            self._again.fail(job, error_of_loss(job), now)
