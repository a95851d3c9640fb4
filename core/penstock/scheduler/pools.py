"""Pools, their places, and the workers that come and go in them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lanes import Lane
from penstock.scheduler.states import BUSY, READY, RUNNING, STARTING, WORKER
from penstock.scheduler.timers import Timed

MAX_START_TRIES: Final = 3
LONGEST_RESTART_DELAY: Final = 60.0

STALL_SECONDS: Final = 0.01
"""When what runs takes so long after all, those in the line behind it are recalled, and none joins it any more."""


@dataclass(frozen=True, kw_only=True)
class PoolSpec:
    """What the scheduler must know of a pool.

    Parameters
    ----------
    name:
        Its name.
    workers:
        How many workers it keeps.
    capacity:
        Units of concurrent work that one worker can hold; each attempt takes its lane's ``units``.
    """

    name: str
    workers: int = 1
    capacity: int = 1


def restart_delay(failures: int) -> float:
    """Seconds to wait before the next start, after so many failures in a row: 0, 1, 2, 4 ... 60."""
    if failures <= 1:
        return 0.0
    return min(LONGEST_RESTART_DELAY, 2.0 ** (min(failures, 30) - 2))


class Worker(Timed):
    """One worker process, from its start to its exit; never used again after that.

    ``due`` bounds its tear-down, and before that the wait of its line.
    """

    __slots__ = ("attempts", "free", "id", "is_recalled", "line", "place", "pool", "recalled", "since", "state")

    def __init__(self, id_: int, place: Place, now: float) -> None:
        super().__init__()
        self.id = id_
        self.place = place
        self.pool = place.pool
        self.state = STARTING
        self.since = now
        self.free = place.pool.capacity
        self.attempts: dict[int, Attempt] = {}  # that hold units of it: running or stopping
        self.line: deque[Attempt] = deque()  # sent ahead, to be begun in this order when the one that runs has ended
        self.recalled = 0  # the last attempt that it was told to give back; never told an earlier one again
        self.is_recalled = False  # its line was asked back: nothing joins it until what runs has ended

    def __repr__(self) -> str:
        return f"<Worker {self.id} ({self.place.name}): {self.state}, {len(self.attempts)} attempts, {self.free} free>"

    def move(self, happening: str, now: float) -> None:
        """Take the step of the state table."""
        state = WORKER[self.state][happening]
        if state is not self.state:
            self.state = state
            self.since = now

    def take(self, attempt: Attempt, now: float) -> None:
        """Give units to an attempt."""
        self.attempts[attempt.id] = attempt
        self.free -= attempt.units
        if self.state is not BUSY:
            self.move("take work", now)

    def give_back(self, attempt: Attempt, now: float) -> None:
        """Take an attempt's units back: the worker has acknowledged its end."""
        del self.attempts[attempt.id]
        self.free += attempt.units
        self.is_recalled = False
        if not self.attempts:
            self.move("fall idle", now)

    @property
    def is_brisk(self) -> bool:
        """Whether what it runs now may be expected to end in a moment."""
        if self.state is not BUSY or self.is_recalled or len(self.attempts) > 1:
            return False
        (attempt,) = self.attempts.values()
        return attempt.state is RUNNING and attempt.lane.most_ahead > 0


class Place(Timed):
    """One of a pool's places for a worker: what outlives the worker in it. ``due`` is when to start the next one."""

    __slots__ = ("failures", "index", "name", "pool", "restarts", "worker")

    def __init__(self, pool: WorkerPool, index: int) -> None:
        super().__init__()
        self.pool = pool
        self.index = index
        self.name = f"{pool.name}/{index}"
        self.worker: Worker | None = None
        self.failures = 0  # exits in a row without a finished attempt
        self.restarts = 0

    def statistics(self) -> dict[str, Any]:
        """What is in this place; an empty one is between two workers."""
        worker = self.worker
        return {
            "name": self.name,
            "restarts": self.restarts,
            "id": worker.id if worker else None,
            "state": worker.state if worker else "empty",
            "since": worker.since if worker else None,
            "attempts": sorted(worker.attempts) if worker else [],
        }


class WorkerPool:
    """The workers of some lanes."""

    __slots__ = ("capacity", "failure", "lanes", "name", "only", "places", "was_ready")

    def __init__(self, spec: PoolSpec) -> None:
        self.name = spec.name
        self.capacity = spec.capacity
        self.places = [Place(self, index) for index in range(spec.workers)]
        self.lanes: list[Lane] = []
        self.only: Lane | None = None  # its one lane, if it has no other; as most have
        self.was_ready = False  # has ever had a ready worker
        self.failure: str | None = None  # why it was given up, if it was

    def __repr__(self) -> str:
        states = ", ".join(place.worker.state if place.worker else "empty" for place in self.places)
        return f"<WorkerPool {self.name}: {states}>"

    def add(self, lane: Lane) -> None:
        """Let its workers run this lane's work."""
        self.lanes.append(lane)
        self.only = lane if len(self.lanes) == 1 else None
        lane.pool = self

    @property
    def is_ready(self) -> bool:
        """Whether a worker could take work, now or when it has finished what it does."""
        return any(place.worker is not None and place.worker.state in (READY, BUSY) for place in self.places)

    @property
    def has_queued(self) -> bool:
        """Whether any of its lanes has work that has not been started, or that is to be started again."""
        return any(lane.queue.jobs or lane.backing_off for lane in self.lanes)

    def statistics(self) -> dict[str, Any]:
        """Its workers and how they fare, ready for JSON; ``since`` is an instant of the scheduler's clock."""
        return {
            "ready": self.is_ready,
            "failure": self.failure,
            "workers": [place.statistics() for place in self.places],
        }

    def find_worker(self, units: int) -> Worker | None:
        """A worker with so many units free: an idle one if there is one, else the one with the most room."""
        best = None
        most = units - 1
        for place in self.places:
            worker = place.worker
            if worker is None or (worker.state is not READY and worker.state is not BUSY):
                continue
            if worker.free > most:
                best, most = worker, worker.free
                if most == self.capacity:
                    break
        return best

    def find_line(self, lane: Lane) -> Worker | None:
        """The brisk worker with the shortest line that has room for one more attempt of this lane."""
        shortest = lane.most_ahead
        if not shortest:
            return None
        best = None
        for place in self.places:
            worker = place.worker
            if worker is not None and len(worker.line) < shortest and worker.is_brisk:
                best, shortest = worker, len(worker.line)
        return best

    def next_job(self, now: float) -> Job | None:
        """Whose turn it is: the head of the lane with the least rank, of those that should go now."""
        lane = self.only
        if lane is not None:
            queue = lane.queue
            return queue.head(now) if queue.jobs and (lane.batching is None or lane.is_due(now)) else None
        first = None
        for lane in self.lanes:
            if lane.queue.jobs and (lane.batching is None or lane.is_due(now)):
                first = lane if first is None or lane.rank < first.rank else first
        return None if first is None else first.queue.head(now)
