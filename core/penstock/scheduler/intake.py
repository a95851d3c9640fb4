"""How work comes in: who is admitted, and who leaves again."""

from __future__ import annotations

from penstock.errors import Cancelled, Draining, NotReady, PenstockError, QueueFull
from penstock.scheduler import events as on
from penstock.scheduler.answers import Answers
from penstock.scheduler.desk import Desk
from penstock.scheduler.dispatch import Dispatch
from penstock.scheduler.lanes import Lane
from penstock.scheduler.states import FINAL, QUEUED
from penstock.scheduler.timers import NEVER


class Intake:
    """Admits jobs, or refuses them."""

    __slots__ = ("_answers", "_desk", "_dispatch", "_timers")

    def __init__(self, desk: Desk, answers: Answers, dispatch: Dispatch) -> None:
        self._desk = desk
        self._answers = answers
        self._dispatch = dispatch
        self._timers = desk.timers

    def refusal(self, lane: Lane, size_bytes: int) -> PenstockError | None:
        """See ``Scheduler.refusal``."""
        if self._desk.is_draining:
            return Draining("the server is shutting down")
        queue = lane.queue
        if len(queue.jobs) + lane.ahead >= lane.max_queue:
            return QueueFull(f"{lane.name}: {lane.queued} jobs are queued, which is its limit")
        if queue.size_bytes + size_bytes > lane.max_queue_bytes and queue.jobs:
            return QueueFull(f"{lane.name}: {queue.size_bytes} bytes are queued, and {size_bytes} more are too many")
        pool = self._desk.pools[lane.pool_name]
        if pool.failure is not None:
            return NotReady(f"{lane.name}: pool {pool.name} could not be started")
        return None

    def on_submitted(self, event: on.Submitted, now: float) -> None:
        """Queue the job, if there is room for it."""
        job = event.job
        lane = job.lane
        job.arrived = now
        refusal = self.refusal(lane, job.size_bytes)
        if refusal is not None:
            self._answers.refuse(job, refusal)
            return
        desk = self._desk
        limits = job.timeouts
        job.admitted = True
        desk.sequence = job.sequence = desk.sequence + 1
        job.start_by = NEVER if limits.queue is None else now + limits.queue
        job.finish_by = NEVER if limits.total is None else now + limits.total
        desk.jobs_live += 1
        lane.queue.push(job)
        if lane.batching is not None:
            when = lane.batch_due(job)
            if when < lane.due:
                self._timers.arm(lane, when)
        self._dispatch.dispatch(desk.pools[lane.pool_name], now)
        if job.state is QUEUED:
            self._timers.arm(job, min(job.start_by, job.finish_by))

    def on_cancelled(self, event: on.Cancelled, now: float) -> None:
        """The caller has gone."""
        job = event.job
        if job.admitted and job.state not in FINAL:
            self._answers.answer(job, "cancel", Cancelled(event.reason), now)
            # It may have been what the others waited behind.
            self._dispatch.dispatch(self._desk.pools[job.lane.pool_name], now)
