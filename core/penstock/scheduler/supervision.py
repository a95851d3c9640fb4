"""Supervision: what is reported about workers, and what follows for their places and their jobs.

The last steps of the ladder are here: an attempt that does not stop within its grace period has its worker killed.
"""

from __future__ import annotations

from penstock.scheduler import endings, recycling, staffing
from penstock.scheduler import events as on
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.pools import PROBATION_SECONDS, Worker
from penstock.scheduler.reports import OverstayReport, PoolReadyReport, WorkerLostReport, WorkerReadyReport
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import DEAD, DRAINING, STARTING


def on_setup_finished(state: SchedulerState, event: on.SetupFinished, now: float) -> None:
    """Count a worker as ready. It works at once if the pool needs it; otherwise it stands by."""
    worker = state.workers.get(event.worker)
    if worker is None or worker.state is DEAD:
        return  # killed at the same moment
    started = worker.since
    state.timers.disarm(worker)
    worker.move("be ready", now)
    recycling.set_limits(state, worker, now)
    pool, place = worker.pool, worker.place
    if place.failures and place.worker is worker:  # otherwise it has died since, and has left its place
        state.timers.arm(place, now + PROBATION_SECONDS)
    state.report(WorkerReadyReport(worker, event.seconds))
    if not pool.was_ready:
        pool.was_ready = True
        # The import counts as well: this is how long an operator has waited.
        state.report(PoolReadyReport(pool, now - started))
    state.to_staff.append(pool)


# ---- exits


def on_workers_died(state: SchedulerState, event: on.WorkersDied, _now: float) -> None:
    """Give no more work to these workers: dead ones leave their places at once, whatever is still to come of them."""
    for worker_id in event.workers:
        worker = state.workers.get(worker_id)
        if worker is not None and worker.place.worker is worker:
            worker.place.worker = None
            state.timers.disarm(worker.place)  # its probation ends with it
            state.to_staff.append(worker.pool)


def on_worker_exited(state: SchedulerState, event: on.WorkerExited, now: float) -> None:
    """Settle what a worker that has exited still held, and replace it."""
    worker = state.workers.pop(event.worker, None)
    if worker is None:
        return
    state.timers.disarm(worker)
    if worker.age is not None:
        state.timers.disarm(worker.age)
    for attempt_id in [key for key, holder in state.given_back.items() if holder == worker.id]:
        del state.given_back[attempt_id]
    place = worker.place
    place.worker = None
    state.timers.disarm(place)
    was = worker.state
    if was is DRAINING and not worker.attempts:
        worker.move("exit", now)
    elif was is not DEAD:
        when = "exit before they are ready" if was is STARTING else "exit by themselves"
        place.fail(was, event.error or f"its workers {when}: {event.reason}")
        place.last_end = f"exited by itself: {event.reason}"
        worker.move("die", now)
        state.report(WorkerLostReport(worker, was, list(worker.attempts.values()), event.reason, event.error))
        endings.lose_attempts(state, worker, now, event.started)
    if not state.is_draining or place.pool.has_queued:
        succession = place.pool.succession
        if succession is not None and succession.worker is worker:
            place.pool.succession = None  # the new worker is in its place already
        staffing.replace(state, place, now)
    state.to_staff.append(place.pool)


def on_protocol_broken(state: SchedulerState, event: on.ProtocolBroken, now: float) -> None:
    """Kill a worker that can no longer be believed. As after a crash, the jobs that it was running are suspects."""
    worker = state.workers.get(event.worker)
    if worker is None or worker.state is DEAD:
        return
    worker.place.fail(worker.state, f"its workers break the protocol: {event.reason}")
    endings.kill(state, worker, now, f"it broke the protocol: {event.reason}", started=event.started)


def on_worker_suspended(state: SchedulerState, event: on.WorkerSuspended, now: float) -> None:
    """Kill a worker that is stopped by a signal: it answers nothing, and runs no deadline out that could end it."""
    worker = state.workers.get(event.worker)
    if worker is not None and worker.state is not DEAD:
        endings.kill(state, worker, now, event.reason)


# ---- the last steps of the ladder


def on_attempt_due(state: SchedulerState, attempt: Attempt, now: float) -> None:
    """Handle an attempt's timer: its grace period is over, and the user's code has not stopped."""
    worker = attempt.worker
    state.report(OverstayReport(attempt))
    if attempt.lane.is_interruptible:
        endings.kill(state, worker, now, f"attempt {attempt.id} of {attempt.lane.name} did not stop when interrupted")
        return
    # A thread cannot be interrupted, and the attempts beside it are healthy: they may finish first.
    endings.retire(state, worker, now)


def on_worker_due(state: SchedulerState, worker: Worker, now: float) -> None:
    """Handle a worker's timer: its start or its tear-down takes too long, or its line has waited too long."""
    if worker.state is STARTING:
        place = worker.place
        place.fail(STARTING, f"its workers were not ready within {place.pool.start_timeout:g} s")
        reason = f"it was not ready within {place.pool.start_timeout:g} s (App(start_timeout=))"
        endings.kill(state, worker, now, reason)
    elif worker.line:
        state.recall_line(worker)
    elif worker.state is DRAINING and not worker.attempts:
        endings.kill(state, worker, now, f"its tear-down took longer than {endings.TEARDOWN_SECONDS:g} s")
