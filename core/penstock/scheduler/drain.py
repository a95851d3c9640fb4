"""Draining: finish the admitted jobs, then stop the workers."""

from __future__ import annotations

from penstock.errors import Draining
from penstock.scheduler import answers, endings
from penstock.scheduler import events as on
from penstock.scheduler.jobs import Job
from penstock.scheduler.reports import AbandonReport, DrainReport, DrainTimeoutReport
from penstock.scheduler.retries import is_safe_again
from penstock.scheduler.shared_state import DrainTimer, SchedulerState
from penstock.scheduler.states import INTAKE, READY, STANDBY, STARTING


def on_drain_requested(state: SchedulerState, event: on.DrainRequested, now: float) -> None:
    """Refuse new work from now on. Only the first request counts."""
    if state.is_draining:
        return
    state.intake = INTAKE[state.intake]["drain"]
    state.drain_found = state.jobs_live
    state.report(DrainReport(state.jobs_live, event.deadline - now))
    state.timers.arm(state.drain_timer, event.deadline)


def on_drain_due(state: SchedulerState, _timer: DrainTimer, now: float) -> None:
    """Handle the drain's timer: abandon the remaining jobs, whose attempts the ladder then stops."""
    state.report(DrainTimeoutReport(state.jobs_live))
    for lane in state.lanes.values():
        for job in lane.waiting():
            _abandon(state, job, now)
    for attempt in list(state.attempts.values()):
        for job in attempt.jobs:
            if job.attempt is attempt:
                _abandon(state, job, now)


def _abandon(state: SchedulerState, job: Job, now: float) -> None:
    refusal = Draining("the server is shutting down", retryable=is_safe_again(job))
    state.report(AbandonReport(job, job.state))
    answers.answer(state, job, "cancel", refusal, now, why="drain")
    state.drain_abandoned += 1


def settle(state: SchedulerState, now: float) -> None:
    """Stop the workers that have nothing left to do. Called after every event during a drain."""
    for worker in list(state.workers.values()):
        if worker.pool.has_queued:
            continue
        if worker.state is READY or worker.state is STANDBY:
            worker.move("drain", now)
            endings.stop_worker(state, worker, now)
        elif worker.state is STARTING:
            endings.kill(state, worker, now, "drained before it was ready", is_routine=True)
