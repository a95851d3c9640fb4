"""How work comes in: who is admitted, and who leaves again."""

from __future__ import annotations

from penstock.errors import Cancelled, Draining, NotReady, PenstockError, QueueFull
from penstock.scheduler import events as on
from penstock.scheduler.answers import Answers
from penstock.scheduler.dispatch import Dispatch
from penstock.scheduler.jobs import Job
from penstock.scheduler.lanes import Lane
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import FINAL, INTAKE, OPEN, PAUSED, QUEUED
from penstock.scheduler.timers import NEVER


class Intake:
    """Admits jobs, or refuses them."""

    __slots__ = ("_answers", "_desk", "_dispatch", "_timers")

    def __init__(self, desk: SchedulerState, answers: Answers, dispatch: Dispatch) -> None:
        self._desk = desk
        self._answers = answers
        self._dispatch = dispatch
        self._timers = desk.timers

    def refusal(self, lane: Lane, size_bytes: int, job: Job | None = None) -> PenstockError | None:
        """Why a job of this size, or this job, would not be admitted, or None if it would."""
        if self._desk.intake is not OPEN:
            return self._closed()
        queue = lane.queue
        if len(queue.jobs) + lane.ahead >= lane.max_queue:
            full = QueueFull(f"{lane.name}: {lane.queued} jobs are queued, which is its limit")
            return lane.advise(full, self._desk.now)
        if queue.size_bytes + size_bytes > lane.max_queue_bytes and queue.jobs:
            full = QueueFull(f"{lane.name}: {queue.size_bytes} bytes are queued, and {size_bytes} more are too many")
            return lane.advise(full, self._desk.now)
        if lane.pool.failure is not None:
            return NotReady(f"{lane.name}: pool {lane.pool_name} could not be started")
        if lane.is_plain:
            return None
        refusal = queue.refusal(job, self._desk.now)
        return None if refusal is None else lane.advise(refusal, self._desk.now)

    def _closed(self) -> PenstockError:
        if self._desk.is_draining:
            return Draining("the server is shutting down")
        return Draining("the server has been taken out of rotation")

    def on_submitted(self, event: on.Submitted, now: float) -> None:
        """Queue the job, if there is room for it."""
        job = event.job
        lane = job.lane
        job.arrived = now
        refusal = self.refusal(lane, job.size_bytes, job)
        if refusal is not None:
            self._answers.refuse(job, refusal)
            return
        desk = self._desk
        limits = job.timeouts
        job.admitted = True
        lane.admitted += 1
        desk.sequence = job.sequence = desk.sequence + 1
        job.start_by = NEVER if limits.queue is None else now + limits.queue
        job.finish_by = NEVER if limits.total is None else now + limits.total
        desk.jobs_live += 1
        lane.queue.push(job, now)
        if lane.batching is not None:
            when = lane.batch_due(job)
            if when < lane.due:
                self._timers.arm(lane, when)
        self._dispatch.dispatch(lane.pool, now)
        if job.state is QUEUED:
            if lane.is_plain:
                self._timers.arm(job, min(job.start_by, job.finish_by))
            else:
                self._answers.watch(job, now)

    def on_cancelled(self, event: on.CancelRequested, now: float) -> None:
        """The caller has gone."""
        job = event.job
        if job.admitted and job.state not in FINAL:
            self._answers.answer(job, "cancel", Cancelled(event.reason), now)
            # It may have been what the others waited behind.
            self._dispatch.dispatch(job.lane.pool, now)

    def on_pause_requested(self, event: on.PauseRequested, _now: float) -> None:
        """Take nothing new until further notice. What is admitted goes on, and the workers stay."""
        desk = self._desk
        if desk.intake is OPEN:
            desk.intake = INTAKE[desk.intake]["pause"]
            desk.report("pause", who=event.who, why=event.why, jobs=desk.jobs_live)

    def on_resume_requested(self, event: on.ResumeRequested, _now: float) -> None:
        """Take new work again."""
        desk = self._desk
        if desk.intake is PAUSED:
            desk.intake = INTAKE[desk.intake]["resume"]
            desk.report("resume", who=event.who, why=event.why, jobs=desk.jobs_live)
