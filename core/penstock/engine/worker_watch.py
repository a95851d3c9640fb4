"""The watch over workers: how long they load, how much memory they use, and whether their models still work.

The last two only in pools with a ``Recycle`` policy. The scheduler decides what follows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import count
from typing import Final

from penstock.engine.inbox import Inbox
from penstock.engine.operator_log import OperatorLog
from penstock.engine.processes.process_memory import available_memory, memory_of
from penstock.engine.processes.worker_link import WorkerLink
from penstock.engine.reactors.reactor import Reactor, TimerHandle
from penstock.scheduler import Scheduler
from penstock.scheduler.pools import Worker, WorkerPool
from penstock.scheduler.states import DEAD, STARTING
from penstock.wire import Check

STILL_LOADING_SECONDS: Final = 10.0
MEASURE_SECONDS: Final = 1.0
"""The time between two measurements of a worker whose memory is limited."""

_RARELY: Final = 10  # another pool is measured in one of this many turns: only to know whether two workers fit


class WorkerWatch:
    """The watch over the workers of one engine.

    Parameters
    ----------
    reactor:
        The engine's loop.
    scheduler:
        The scheduler, which is only read here.
    inbox:
        Knows what a worker has begun.
    links:
        The worker processes, by the scheduler's id.
    log:
        The operator log.
    """

    def __init__(
        self,
        reactor: Reactor,
        scheduler: Scheduler,
        inbox: Inbox,
        links: Mapping[int, WorkerLink],
        log: OperatorLog,
    ) -> None:
        self._reactor = reactor
        self._inbox = inbox
        self._links = links
        self._log = log
        self._scheduler = scheduler
        self._pools = [pool for pool in scheduler.pools.values() if pool.recycle is not None]
        self._alarms: dict[str, TimerHandle] = {}
        self._turns = count(1)
        self._is_measuring = False
        self._is_closed = False
        self._last_checked: dict[str, int] = {}

    def start(self) -> None:
        """Begin to watch, if there is anything to watch."""
        if self._pools:
            self._plan("memory", MEASURE_SECONDS, self._measure_all)
        for pool in self._pools:
            self._plan_check(pool)

    def close(self) -> None:
        """Watch no more. A measurement that is under way ends by itself."""
        self._is_closed = True
        for alarm in self._alarms.values():
            alarm.cancel()

    def _plan(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        self._alarms[name] = self._reactor.call_at(self._reactor.time() + seconds, action)

    # ---- starts

    def on_start(self) -> None:
        """Watch a worker that is starting: if that takes long, the log says so."""
        if "start" not in self._alarms:
            self._plan("start", STILL_LOADING_SECONDS, self._still_loading)

    def _still_loading(self) -> None:
        del self._alarms["start"]
        starting = [worker for worker in self._scheduler.workers.values() if worker.state is STARTING]
        for worker in starting:
            self._log.still_loading(worker)
        if starting:
            self.on_start()

    # ---- memory

    def on_ready(self, worker: Worker) -> None:
        """Measure a worker that has just become ready: what its models need is the base of what follows."""
        recycle = worker.pool.recycle
        if recycle is not None and recycle.memory_bytes is not None:
            self._measure([worker])

    def _measure_all(self) -> None:
        self._plan("memory", MEASURE_SECONDS, self._measure_all)
        if self._is_measuring:
            return
        is_rare = next(self._turns) % _RARELY == 0
        pools = [pool for pool in self._pools if is_rare or (pool.recycle and pool.recycle.memory_bytes)]
        workers = [worker for pool in pools for worker in _ready_workers(pool)]
        if workers:
            self._is_measuring = True
            self._measure(workers)

    def _measure(self, workers: Iterable[Worker]) -> None:
        """Measure these workers in a thread: for a large one that takes longer than the loop can wait."""
        pids = {worker.id: link.pid for worker in workers if (link := self._links.get(worker.id)) and link.pid}
        try:
            threading.Thread(target=self._read, args=(pids,), name="penstock-memory", daemon=True).start()
        except RuntimeError:  # the machine has no thread to spare; the next turn may find one
            self._is_measuring = False

    def _read(self, pids: dict[int, int]) -> None:
        """Read the memory of these processes. Runs in a thread of its own."""
        sizes = {worker: size for worker, pid in pids.items() if (size := memory_of(pid)) is not None}
        available = available_memory()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            self._reactor.call_soon_threadsafe(lambda: self._take(sizes, available))

    def _take(self, sizes: dict[int, int], available: int) -> None:
        self._is_measuring = False
        for worker, size in sizes.items():
            link = self._links.get(worker)
            if link is not None and not self._is_closed:
                self._inbox.on_measured(link, size, available)

    # ---- checks

    def _plan_check(self, pool: WorkerPool) -> None:
        """Plan the check of the pool's next worker. They take turns: one that is checked does nothing else."""
        assert pool.recycle is not None
        if pool.recycle.check is not None:
            seconds = pool.recycle.check / max(1, len(pool.places))
            self._plan(f"check of {pool.name}", seconds, lambda: self._check(pool))

    def _check(self, pool: WorkerPool) -> None:
        self._plan_check(pool)
        workers = sorted(worker.id for worker in _ready_workers(pool))
        if workers:
            last = self._last_checked.get(pool.name, 0)
            following = next((worker for worker in workers if worker > last), workers[0])
            self._last_checked[pool.name] = following
            link = self._links.get(following)
            if link is not None:
                link.send(Check())


def _ready_workers(pool: WorkerPool) -> list[Worker]:
    workers = [place.worker for place in pool.places if place.worker is not None]
    return [worker for worker in workers if worker.state not in (STARTING, DEAD)]
