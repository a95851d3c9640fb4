"""The state that all parts of the scheduler share, and the small operations on it that several of them need."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import count
from typing import ClassVar

from penstock.scheduler import commands as do
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.lanes import Lane, LaneSpec
from penstock.scheduler.pools import PoolSpec, Worker, WorkerPool
from penstock.scheduler.reports import AnyReport
from penstock.scheduler.states import DRAINING, OPEN
from penstock.scheduler.timers import Timed, Timers


class DrainTimer(Timed):
    """The owner of the timer that ends a drain."""

    __slots__ = ()

    timer_kind: ClassVar[str] = "drain"


class SchedulerState:
    """The pools, lanes, workers and attempts, and the decisions of the current turn.

    Parameters
    ----------
    pools, lanes, max_queue_bytes, draw:
        As for the scheduler.

    Attributes
    ----------
    now:
        The instant of the current turn.
    out:
        The commands of the current turn, in order.
    to_recall:
        Workers whose lines are recalled at the end of the turn.
    to_staff:
        Pools in which a worker has come, gone or become due, to be looked at at the end of the turn. See ``staffing``.
    available_bytes:
        The memory that the machine has left, as measured latest; infinite if it has not been measured.
    workers, attempts:
        By id: workers whose process has not been seen to exit; attempts whose end has not been acknowledged.
    given_back:
        The attempts that were recalled, and whose worker has not yet acknowledged that, by id: the worker's id.
    intake:
        A state of ``states.INTAKE``: whether new work is accepted.
    jobs_live:
        The number of jobs that are admitted and not answered.
    arriving_bytes:
        The size of the large bodies that are arriving.
    drain_found, drain_abandoned:
        The number of jobs that the drain has found, and of those that it has abandoned.
    """

    __slots__ = (
        "arriving_bytes",
        "attempt_ids",
        "attempts",
        "available_bytes",
        "drain_abandoned",
        "drain_found",
        "drain_timer",
        "draw",
        "given_back",
        "intake",
        "jobs_live",
        "lanes",
        "max_queue_bytes",
        "now",
        "out",
        "pools",
        "sequence",
        "timers",
        "to_recall",
        "to_staff",
        "worker_ids",
        "workers",
    )

    def __init__(
        self,
        pools: Iterable[PoolSpec],
        lanes: Iterable[LaneSpec],
        max_queue_bytes: int,
        draw: Callable[[], float],
    ) -> None:
        self.pools = {spec.name: WorkerPool(spec) for spec in pools}
        self.lanes = {spec.name: Lane(spec) for spec in lanes}
        for lane in self.lanes.values():
            self.pools[lane.pool_name].add(lane)
        self.workers: dict[int, Worker] = {}
        self.attempts: dict[int, Attempt] = {}
        self.given_back: dict[int, int] = {}
        self.jobs_live = 0
        self.max_queue_bytes = max_queue_bytes
        self.arriving_bytes = 0
        self.intake = OPEN
        self.drain_found = 0
        self.drain_abandoned = 0
        self.drain_timer = DrainTimer()
        self.timers = Timers()
        self.now = 0.0
        self.out: list[do.Command] = []
        self.to_recall: list[Worker] = []
        self.to_staff: list[WorkerPool] = []
        self.draw = draw
        self.available_bytes = math.inf
        self.sequence = 0  # the latest job's number, or that of the latest turn that did not go to a lane's oldest job
        self.worker_ids = count(1)
        self.attempt_ids = count(1)

    @property
    def is_draining(self) -> bool:
        """True once a drain has begun."""
        return self.intake is DRAINING

    @property
    def held_bytes(self) -> int:
        """The size of all bodies that are queued, and of the large ones that are arriving."""
        return self.arriving_bytes + sum(lane.queue.size_bytes for lane in self.lanes.values())

    @property
    def drain_answered(self) -> int:
        """The number of jobs found by the drain that were answered normally."""
        return self.drain_found - self.drain_abandoned - self.jobs_live if self.is_draining else 0

    def report(self, report: AnyReport) -> None:
        """Pass a report on to the operator log and the observers."""
        self.out.append(do.Report(report))

    def recall_line(self, worker: Worker) -> None:
        """Recall, at the end of this turn, all that the worker has not begun. See ``sending_ahead``."""
        if worker.line and worker.line[-1].id > worker.recalled and worker not in self.to_recall:
            self.to_recall.append(worker)

    def recycle(self, worker: Worker, reason: str, detail: str = "") -> None:
        """Have a worker replaced, as soon as it is its turn. See ``recycling``."""
        due = worker.pool.to_recycle
        if worker not in due:
            due[worker] = reason, detail
            self.to_staff.append(worker.pool)

    def plan_next_batch(self, lane: Lane, now: float) -> None:
        """Set the lane's timer for the next batch, after the front of its queue has changed."""
        when = lane.next_batch_due()
        if when <= now:
            lane.due = when  # overdue already: it goes as soon as a worker is free, and needs no timer
        else:
            self.timers.arm(lane, when)
