"""Recycling: when a worker that has not failed is due to be replaced. ``staffing`` replaces it."""

from __future__ import annotations

from typing import Final

from penstock.scheduler import endings
from penstock.scheduler import events as on
from penstock.scheduler.pools import AgeTimer, Worker
from penstock.scheduler.reports import AGE, ATTEMPTS, CHECK, INTERRUPT, MEMORY, LimitTooLowReport, RecycleReport
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import BUSY, DEAD, READY, STANDBY

SPREAD: Final = 0.2
"""Each worker's limits are drawn from this share below the declared ones."""

MOST_OVER_BYTES: Final = 1 << 30
"""A worker that exceeds its limit by this much, or by the limit itself if that is more, is killed."""


def is_in_use(worker: Worker) -> bool:
    """Return whether the worker is ready, in its place, and not on its way out."""
    return worker.place.worker is worker and worker.state in (STANDBY, READY, BUSY)


def is_urgent(reason: str) -> bool:
    """Return whether the state of a worker that is recycled for this reason cannot be trusted."""
    return reason in (INTERRUPT, CHECK)


def may_wait(state: SchedulerState, worker: Worker, reason: str) -> bool:
    """Return whether the worker may work until its replacement is ready: it is sound, and there is memory for both."""
    return not is_urgent(reason) and worker.memory_bytes <= state.available_bytes


def record(state: SchedulerState, worker: Worker, reason: str, detail: str, *, is_ready_first: bool) -> None:
    """Count and report that a worker is recycled."""
    worker.pool.recycled[reason] += 1
    worker.place.last_end = f"recycled ({reason})" + (f": {detail}" if detail else "")
    state.report(RecycleReport(worker, reason, detail, is_ready_first))


def set_limits(state: SchedulerState, worker: Worker, now: float) -> None:
    """Draw the limits of a worker that has just become ready."""
    recycle = worker.pool.recycle
    if recycle is None:
        return
    if recycle.attempts is not None:
        worker.attempts_left = max(1, recycle.attempts - int(recycle.attempts * SPREAD * state.draw()))
    if recycle.age is not None:
        worker.age = AgeTimer(worker)
        state.timers.arm(worker.age, now + recycle.age * (1 - SPREAD * state.draw()))


def on_age_due(state: SchedulerState, age: AgeTimer, _now: float) -> None:
    """Handle the timer of a worker's age."""
    state.recycle(age.worker, AGE)


def count_attempt(state: SchedulerState, worker: Worker) -> None:
    """Count an attempt of a worker whose number of attempts is limited."""
    assert worker.attempts_left is not None
    worker.attempts_left -= 1
    if worker.attempts_left <= 0:
        state.recycle(worker, ATTEMPTS)


def on_check_failed(state: SchedulerState, event: on.CheckFailed, _now: float) -> None:
    """Have a worker replaced whose model has found that it does not work any more."""
    worker = state.workers.get(event.worker)
    if worker is not None and is_in_use(worker):
        state.recycle(worker, CHECK, event.reason)


def on_memory_measured(state: SchedulerState, event: on.MemoryMeasured, now: float) -> None:
    """Have a worker replaced that uses too much memory, or kill it if it uses far too much."""
    state.available_bytes = event.available_bytes
    worker = state.workers.get(event.worker)
    if worker is None or worker.state is DEAD:
        return
    worker.memory_bytes = size = event.size_bytes
    recycle = worker.pool.recycle
    if recycle is None or recycle.memory_bytes is None:
        return
    limit = recycle.memory_bytes
    if worker.first_bytes is None:
        worker.first_bytes = size
        if size > limit:  # to replace it would help nothing: the next one would be as large
            state.report(LimitTooLowReport(worker, limit))
    if size > deadly_bytes(limit, worker.first_bytes):
        reason = f"it uses {_megabytes(size)} of memory, far above its limit of {_megabytes(limit)} (Recycle(memory=))"
        endings.kill(state, worker, now, reason, started=event.started)
    elif size > limit >= worker.first_bytes:
        state.recycle(worker, MEMORY, f"it uses {_megabytes(size)}, and its limit is {_megabytes(limit)}")


def deadly_bytes(limit: int, first_bytes: int) -> int:
    """Return the memory beyond which a worker is killed."""
    return max(limit, first_bytes) + max(limit, MOST_OVER_BYTES)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):,.0f} MiB"
