"""Spare slots: the jobs of a lane that could begin at once."""

from __future__ import annotations

from penstock.scheduler.lanes import Lane
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import OPEN


def spare_slots(state: SchedulerState, lane: Lane) -> int:
    """Return how many more jobs of the lane would begin at once: none while jobs of its pool wait.

    The jobs that wait for a batch of the lane itself do not count as waiting: more of them fill it up.
    """
    pool = lane.pool
    own = 0 if lane.batching is None else len(lane.queue)
    if state.intake is not OPEN or pool.failure is not None or pool.queued > own or lane.ahead:
        return 0
    attempts = sum(worker.free // lane.units for worker in pool.working() if not worker.line)
    return max(0, attempts * _jobs_per_attempt(lane) - own)


def slots(lane: Lane) -> int:
    """Return how many jobs of the lane can run at a time."""
    pool = lane.pool
    return len(pool.working()) * (pool.capacity // lane.units) * _jobs_per_attempt(lane)


def _jobs_per_attempt(lane: Lane) -> int:
    return 1 if lane.batching is None else lane.batching.max_size
