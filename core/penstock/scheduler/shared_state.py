"""The scheduler's one record of how things stand, which its parts share and write to."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

from penstock.scheduler import commands as do
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.lanes import Lane, LaneSpec
from penstock.scheduler.pools import PoolSpec, Worker, WorkerPool
from penstock.scheduler.states import DRAINING, OPEN
from penstock.scheduler.timers import Timers


class SchedulerState:
    """What is known, and what has been decided so far in this turn.

    Parameters
    ----------
    pools, lanes:
        As for the scheduler.

    Attributes
    ----------
    now:
        The instant of the turn.
    out:
        The commands of the turn, in order.
    to_recall:
        The workers whose lines are to be asked back at the end of the turn.
    workers, attempts:
        By id: those whose process has not been seen to exit; those whose end has not been acknowledged.
    intake:
        Whether new work is taken: a state of ``states.INTAKE``.
    jobs_live:
        How many jobs are admitted and not answered.
    drain_found, drain_abandoned:
        How many jobs the drain has found, and how many of them it has given up.
    """

    __slots__ = (
        "attempt_ids",
        "attempts",
        "drain_abandoned",
        "drain_found",
        "intake",
        "jobs_live",
        "lanes",
        "now",
        "out",
        "pools",
        "sequence",
        "timers",
        "to_recall",
        "worker_ids",
        "workers",
    )

    def __init__(self, pools: Iterable[PoolSpec], lanes: Iterable[LaneSpec]) -> None:
        self.pools = {spec.name: WorkerPool(spec) for spec in pools}
        self.lanes = {spec.name: Lane(spec) for spec in lanes}
        for lane in self.lanes.values():
            self.pools[lane.pool_name].add(lane)
        self.workers: dict[int, Worker] = {}
        self.attempts: dict[int, Attempt] = {}
        self.jobs_live = 0
        self.intake = OPEN
        self.drain_found = 0
        self.drain_abandoned = 0
        self.timers = Timers()
        self.now = 0.0
        self.out: list[do.Command] = []
        self.to_recall: list[Worker] = []
        self.sequence = 0  # of the latest job, or of the latest turn that was not the oldest's
        self.worker_ids = count(1)
        self.attempt_ids = count(1)

    @property
    def is_draining(self) -> bool:
        """Whether everything comes to its end."""
        return self.intake is DRAINING

    @property
    def drain_answered(self) -> int:
        """How many of the jobs that the drain has found have come to their own end."""
        return self.drain_found - self.drain_abandoned - self.jobs_live if self.is_draining else 0

    def report(self, event: str, **fields: Any) -> None:
        """Tell the operator."""
        self.out.append(do.Report(event, fields))

    def plan_next_batch(self, lane: Lane, now: float) -> None:
        """The first of the lane's queue has changed: set the lane's timer for the batch that it waits for."""
        when = lane.next_batch_due()
        if when <= now:
            lane.due = when  # overdue already: it goes as soon as a worker is free, and needs no timer
        else:
            self.timers.arm(lane, when)
