"""Pools, their places, and the workers that come and go in them."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from penstock.policies import DEFAULT_START_TIMEOUT, Recycle
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.lanes import Lane
from penstock.scheduler.states import BUSY, DRAINING, READY, STANDBY, STARTING, WORKER
from penstock.scheduler.timers import Timed

MAX_START_TRIES: Final = 3
LONGEST_RESTART_DELAY: Final = 60.0
CRASH_LOOP_FAILURES: Final = 3
"""A place whose workers have failed this often in a row is in a crash loop."""
PROBATION_SECONDS: Final = 30.0
"""A worker that has lived for this long, or has finished an attempt, has left the crash loop that it came from."""
MOST_WORKERS: Final = 1000
"""The largest number of workers that a pool can be scaled to."""


@dataclass(frozen=True, kw_only=True)
class PoolSpec:
    """The scheduler's view of a pool's declaration.

    Parameters
    ----------
    name:
        The pool's name.
    workers:
        The number of workers to keep.
    capacity:
        Units of concurrent work that one worker can hold; each attempt takes its lane's ``units``.
    start_timeout:
        Seconds in which a worker must become ready; None for no limit.
    spares:
        The number of workers to keep on standby besides.
    recycle:
        The conditions under which a worker is replaced; None: only when it has died.
    devices:
        The number of devices. Places take them in turn.
    """

    name: str
    workers: int = 1
    capacity: int = 1
    start_timeout: float | None = DEFAULT_START_TIMEOUT
    spares: int = 0
    recycle: Recycle | None = None
    devices: int = 1


def restart_delay(failures: int) -> float:
    """Return the seconds to wait before the next start after ``failures`` in a row: 0, 1, 2, 4 ... 60."""
    if failures <= 1:
        return 0.0
    return min(LONGEST_RESTART_DELAY, 2.0 ** (min(failures, 30) - 2))


class AgeTimer(Timed):
    """The timer of a worker that is replaced at a certain age."""

    __slots__ = ("worker",)

    timer_kind: ClassVar[str] = "age"

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.worker = worker


class Worker(Timed):
    """One worker process, from its start to its exit; never reused after that.

    ``due`` bounds its start, then the wait of its line (see ``sending_ahead``), and at the end its tear-down.
    """

    __slots__ = (
        "age",
        "attempts",
        "attempts_left",
        "first_bytes",
        "free",
        "id",
        "is_recalled",
        "latest",
        "line",
        "line_bytes",
        "memory_bytes",
        "place",
        "pool",
        "recalled",
        "since",
        "state",
    )

    timer_kind: ClassVar[str] = "worker"

    def __init__(self, id_: int, place: Place, now: float) -> None:
        super().__init__()
        self.id = id_
        self.place = place
        self.pool = place.pool
        self.state = STARTING
        self.since = now
        self.free = place.pool.capacity
        self.attempts: dict[int, Attempt] = {}  # those that hold units of it: running or stopping
        self.line: deque[Attempt] = deque()  # sent ahead, to begin in this order when the running attempt has ended
        self.line_bytes = 0  # the size of the bodies in the line
        self.latest = 0  # the latest attempt that it was sent
        self.recalled = 0  # the latest attempt that it was asked to give back; it is never asked for an earlier one
        self.is_recalled = False  # its line was recalled: nothing joins it until the running attempt has ended
        self.attempts_left: int | None = None  # until it is recycled; None: no limit
        self.age: AgeTimer | None = None
        self.memory_bytes = 0  # as measured latest
        self.first_bytes: int | None = None  # as measured first, with its models and nothing else

    def __repr__(self) -> str:
        return f"<Worker {self.id} ({self.place.name}): {self.state}, {len(self.attempts)} attempts, {self.free} free>"

    def move(self, happening: str, now: float) -> None:
        """Make a transition of the state table."""
        state = WORKER[self.state][happening]
        if state is not self.state:
            self.state = state
            self.since = now

    def take(self, attempt: Attempt, now: float) -> None:
        """Allot units to an attempt."""
        self.attempts[attempt.id] = attempt
        self.free -= attempt.units
        if self.state is not BUSY:
            self.move("take work", now)

    def give_back(self, attempt: Attempt, now: float) -> None:
        """Free an attempt's units: the worker has acknowledged its end."""
        del self.attempts[attempt.id]
        self.free += attempt.units
        self.is_recalled = False
        if not self.attempts:
            self.move("fall idle", now)


class Place(Timed):
    """One of a pool's places for a worker, kept when the worker is replaced. ``due`` is when to start the next one."""

    __slots__ = ("failed_in", "failures", "index", "last_end", "name", "pool", "problem", "restarts", "worker")

    timer_kind: ClassVar[str] = "place"

    def __init__(self, pool: WorkerPool, index: int) -> None:
        super().__init__()
        self.pool = pool
        self.index = index
        self.name = f"{pool.name}/{index}"
        self.worker: Worker | None = None
        self.failures = 0  # exits in a row without a finished attempt
        self.problem = ""  # the reason of the latest of them
        self.failed_in = STARTING  # the state of its worker
        self.restarts = 0
        self.last_end = ""  # the end of the worker before the present one

    def fail(self, state: str, problem: str) -> None:
        """Count the failure of a worker in this state."""
        self.failures += 1
        self.failed_in = state
        self.problem = problem


class Succession(NamedTuple):
    """A worker that works until another one is ready to replace it, and the place of that one."""

    worker: Worker
    place: Place


class WorkerPool:
    """The workers of one or more lanes.

    ``target`` of them work, and ``spares`` more stand by. Which is which does not depend on their places: a worker that
    has become ready stands by, and takes over as soon as too few work.
    """

    __slots__ = (
        "capacity",
        "devices",
        "failure",
        "lanes",
        "name",
        "only",
        "places",
        "queued",
        "recycle",
        "recycled",
        "spares",
        "start_timeout",
        "succession",
        "target",
        "to_recycle",
        "was_ready",
    )

    def __init__(self, spec: PoolSpec) -> None:
        self.name = spec.name
        self.capacity = spec.capacity
        self.start_timeout = spec.start_timeout
        self.target = spec.workers
        self.spares = spec.spares
        self.devices = spec.devices
        self.recycle = spec.recycle
        self.places = [Place(self, index) for index in range(spec.workers + spec.spares)]
        self.to_recycle: dict[Worker, tuple[str, str]] = {}  # the workers that are due, in order: the reason, and more
        self.succession: Succession | None = None  # set while a worker waits for its replacement
        self.recycled: Counter[str] = Counter()  # workers by the reason
        self.lanes: list[Lane] = []
        self.only: Lane | None = None  # its lane, if it has exactly one, as most pools have
        self.queued = 0  # jobs in the queues of its lanes
        self.was_ready = False  # True once it has had a ready worker
        self.failure: str | None = None  # why the pool was given up, if it was

    def __repr__(self) -> str:
        states = ", ".join(place.worker.state if place.worker else "empty" for place in self.places)
        return f"<WorkerPool {self.name}: {states}>"

    def add(self, lane: Lane) -> None:
        """Let the pool's workers run this lane's jobs."""
        self.lanes.append(lane)
        self.only = lane if len(self.lanes) == 1 else None
        lane.pool = self

    @property
    def is_ready(self) -> bool:
        """True if a worker can take work, now or when it has finished its current attempts."""
        return bool(self.working())

    @property
    def is_looping(self) -> bool:
        """True if its workers die again and again when they are ready: those that work have to prove themselves first.

        A worker that is ready has proved that workers can start again, if they could not before.
        """
        places = [worker.place for worker in self.working()]
        return all(place.failures >= CRASH_LOOP_FAILURES and place.failed_in is not STARTING for place in places)

    def working(self) -> list[Worker]:
        """Return the workers that take work."""
        return self._in(READY, BUSY)

    def standing_by(self) -> list[Worker]:
        """Return the workers that are ready and do not take work."""
        return self._in(STANDBY)

    def _in(self, *states: str) -> list[Worker]:
        return [place.worker for place in self.places if place.worker is not None and place.worker.state in states]

    @property
    def is_complete(self) -> bool:
        """True if each place has a worker that is ready."""
        return len(self._in(READY, BUSY, STANDBY)) == len(self.places)

    @property
    def surplus(self) -> int:
        """The number of places beyond those that the pool should have, if none of its draining workers is replaced."""
        kept = len(self.places) - len(self._in(DRAINING))
        return kept - self.target - self.spares - (self.succession is not None)

    def lacks_on_device(self, place: Place) -> int:
        """Return how many more workers should work on the place's device."""
        device = place.index % self.devices
        wanted = len(range(device, self.target, self.devices))
        return wanted - sum(worker.place.index % self.devices == device for worker in self.working())

    @property
    def has_queued(self) -> bool:
        """True if any of its lanes has jobs that wait for their first attempt or for another one."""
        return bool(self.queued) or any(lane.backing_off for lane in self.lanes)
