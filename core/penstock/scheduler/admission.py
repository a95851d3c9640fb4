"""Admission: which jobs enter the queue, how they leave it on a cancel, and when the intake is closed."""

from __future__ import annotations

from typing import Final

from penstock.errors import Cancelled, Draining, NotReady, PenstockError, QueueFull
from penstock.policies import SMALL_BODY_BYTES
from penstock.scheduler import answers
from penstock.scheduler import dispatch as dispatching
from penstock.scheduler import events as on
from penstock.scheduler.jobs import Job
from penstock.scheduler.lanes import Lane
from penstock.scheduler.reports import PauseReport, ResumeReport
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import FINAL, INTAKE, OPEN, PAUSED, QUEUED
from penstock.scheduler.timers import NEVER

DEFAULT_MAX_QUEUE_BYTES: Final = 256 << 20


def refusal(state: SchedulerState, lane: Lane, size_bytes: int, job: Job | None = None) -> PenstockError | None:
    """Return why this job, or any job of this size, would not be admitted; None if it would be."""
    if state.intake is not OPEN:
        return closed(state)
    queue = lane.queue
    if len(queue.jobs) + lane.ahead >= lane.max_queue:
        full = QueueFull(f"{lane.name}: the queue is full: {lane.queued} jobs wait, which is its limit")
        return lane.advise(full, state.now)
    if size_bytes > SMALL_BODY_BYTES:
        held = state.held_bytes
        if held and held + size_bytes > state.max_queue_bytes:
            full = QueueFull(f"{lane.name}: no room for {size_bytes} bytes: the bodies that wait already have {held}")
            return lane.advise(full, state.now)
    if lane.pool.failure is not None:
        return NotReady(f"{lane.name}: pool {lane.pool_name} could not be started")
    if lane.is_plain:
        return None
    refused = queue.refusal(job, state.now)
    return None if refused is None else lane.advise(refused, state.now)


def closed(state: SchedulerState) -> PenstockError | None:
    """Return why no work is accepted now, or None if it is."""
    if state.intake is OPEN:
        return None
    if state.is_draining:
        return Draining("the server is shutting down")
    return Draining("the server has been taken out of rotation")


def on_submitted(state: SchedulerState, event: on.Submitted, now: float) -> None:
    """Queue the job, or refuse it."""
    job = event.job
    lane = job.lane
    queue = lane.queue
    job.arrived = now
    refused = refusal(state, lane, job.size_bytes, job)
    if refused is not None:
        answers.refuse(state, job, refused)
        return
    limits = job.timeouts
    job.admitted = True
    lane.admitted += 1
    state.sequence = job.sequence = state.sequence + 1
    job.start_by = NEVER if limits.queue is None else now + limits.queue
    job.finish_by = NEVER if limits.total is None else now - event.elapsed + limits.total
    state.jobs_live += 1
    # The queue need not see a job that it would neither hold nor shed.
    may_start = lane.may_pass_queue and not queue.jobs
    if may_start and limits.total is not None and not lane.is_plain:
        may_start = queue.give_up_at(job, now) > now
    if not (may_start and dispatching.start_at_once(state, job, now)):
        queue.push(job, now)
        lane.pool.queued += 1
        lane.items += job.items
        if lane.batching is not None:
            when = lane.batch_due(job)
            if when < lane.due:
                state.timers.arm(lane, when)
        dispatching.dispatch(state, lane.pool, now)
    if job.state is QUEUED:
        if lane.is_plain:
            state.timers.arm(job, min(job.start_by, job.finish_by))
        else:
            answers.watch(state, job, now)


def on_upload_began(state: SchedulerState, event: on.UploadBegan, _now: float) -> None:
    """Count a large body from its announcement, so that the bodies that arrive together are bounded as well."""
    state.arriving_bytes += event.size_bytes


def on_upload_ended(state: SchedulerState, event: on.UploadEnded, _now: float) -> None:
    """Count it no longer: its job is about to be submitted, or it will never be."""
    state.arriving_bytes -= event.size_bytes


def on_cancel_requested(state: SchedulerState, event: on.CancelRequested, now: float) -> None:
    """Answer a job whose caller no longer waits for it."""
    job = event.job
    if job.admitted and job.state not in FINAL:
        answers.answer(state, job, "cancel", Cancelled(event.reason), now)
        # Other jobs may have been waiting behind it.
        dispatching.dispatch(state, job.lane.pool, now)


def on_pause_requested(state: SchedulerState, event: on.PauseRequested, _now: float) -> None:
    """Refuse new work until further notice. Admitted jobs go on, and the workers stay."""
    if state.intake is OPEN:
        state.intake = INTAKE[state.intake]["pause"]
        state.report(PauseReport(event.who, event.why, state.jobs_live))


def on_resume_requested(state: SchedulerState, event: on.ResumeRequested, _now: float) -> None:
    """Accept new work again."""
    if state.intake is PAUSED:
        state.intake = INTAKE[state.intake]["resume"]
        state.report(ResumeReport(event.who, event.why, state.jobs_live))
