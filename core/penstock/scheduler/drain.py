"""Shutting down: finish what is admitted, then let the workers go."""

from __future__ import annotations

from penstock.errors import Draining
from penstock.scheduler import events as on
from penstock.scheduler.answers import Answers
from penstock.scheduler.jobs import Job
from penstock.scheduler.retries import is_safe_again
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import INTAKE, READY, STARTING
from penstock.scheduler.supervision import Supervision
from penstock.scheduler.timers import Timed


class Drain(Timed):
    """The end of everything; ``due`` is when patience ends."""

    __slots__ = ("_answers", "_desk", "_supervision")

    def __init__(self, desk: SchedulerState, answers: Answers, supervision: Supervision) -> None:
        super().__init__()
        self._desk = desk
        self._answers = answers
        self._supervision = supervision

    def on_requested(self, event: on.DrainRequested, now: float) -> None:
        """Take nothing new from now on. The first request counts."""
        desk = self._desk
        if desk.is_draining:
            return
        desk.intake = INTAKE[desk.intake]["drain"]
        desk.drain_found = desk.jobs_live
        desk.report("drain", jobs=desk.jobs_live, seconds=event.deadline - now)
        desk.timers.arm(self, event.deadline)

    def on_due(self, _drain: Drain, now: float) -> None:
        """Patience has ended: what is left is answered, and stopped by the ladder."""
        desk = self._desk
        desk.report("drain-timeout", jobs=desk.jobs_live)
        for lane in desk.lanes.values():
            for job in lane.waiting():
                self._give_up(job, now)
        for attempt in list(desk.attempts.values()):
            for job in attempt.jobs:
                if job.attempt is attempt:
                    self._give_up(job, now)

    def _give_up(self, job: Job, now: float) -> None:
        refusal = Draining("the server is shutting down", retryable=is_safe_again(job))
        self._desk.report("abandoned", job=job, state=job.state)
        self._answers.answer(job, "cancel", refusal, now, "drain")
        self._desk.drain_abandoned += 1

    def settle(self, now: float) -> None:
        """While draining: let the workers go that have nothing left to do."""
        for worker in list(self._desk.workers.values()):
            if worker.pool.has_queued:
                continue
            if worker.state is READY:
                worker.move("drain", now)
                self._supervision.stop_worker(worker, now)
            elif worker.state is STARTING:
                self._supervision.kill(worker, now, "drained before it was ready")
