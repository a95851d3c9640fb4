"""The desk of background jobs: where routes, schedules and the service of one engine meet at their store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeAlias

from penstock.errors import NotReady
from penstock.hooks import App
from penstock.job_store import JobStore, NewJob, PutJob, StoreChange, StoredJob
from penstock.policies import Jobs

CallSoon: TypeAlias = Callable[[Callable[[], None]], object]
"""``ServiceEngine.call_soon_threadsafe``."""
Unwatch: TypeAlias = Callable[[], None]


class JobDesk:
    """The store of one engine, with its news. All methods belong to the engine's thread, except ``note``.

    Parameters
    ----------
    app:
        The app that is served.
    clock:
        The wall clock, in Unix seconds.

    Attributes
    ----------
    is_open:
        True while the store is open and takes jobs.
    call_soon_threadsafe:
        Calls a function on the engine's thread, from any thread: the way back from the callback of a store's future.
    """

    def __init__(self, app: App, clock: Callable[[], float] = time.time) -> None:
        self._policies = {endpoint.name: endpoint.jobs for endpoint in app.endpoints}
        self._clock = clock
        self._store: JobStore | None = None
        self._listeners: list[Callable[[StoreChange], None]] = []
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        self._news = _News()
        self.is_open = False
        self.call_soon_threadsafe: CallSoon = lambda _: None

    def __repr__(self) -> str:
        return f"<JobDesk: {'open' if self.is_open else 'closed'}, {len(self._watchers)} watched>"

    @property
    def store(self) -> JobStore:
        """The store.

        Raises
        ------
        NotReady
            If it is not open yet.
        """
        if self._store is None:
            raise NotReady("the store of background jobs is being opened", retry_after=1.0)
        return self._store

    def now(self) -> float:
        """Return the wall clock, for the store's ``now``."""
        return self._clock()

    def jobs_of(self, endpoint: str) -> Jobs | None:
        """Return the policy of an endpoint's background jobs; None if it has none, or does not exist."""
        return self._policies.get(endpoint)

    # ---- callers

    def submit(self, jobs: NewJob | Sequence[NewJob]) -> Future[list[PutJob]]:
        """Store jobs, all or none. The service learns of them from the store, by the time that the future is done.

        The future's callbacks run on a thread of the store; see ``JobStore.put`` for its errors.

        Raises
        ------
        NotReady
            If the store is not open.
        """
        return self.store.put([jobs] if isinstance(jobs, NewJob) else jobs, now=self.now())

    def cancel(self, job_id: str) -> Future[StoredJob]:
        """Cancel a job. If it runs here, the service learns of it from the store and stops it.

        Raises
        ------
        NotReady
            If the store is not open.
        """
        return self.store.cancel(job_id, now=self.now())

    def watch(self, job_id: str, callback: Callable[[], None]) -> Unwatch:
        """Have ``callback`` called on the engine's thread whenever a job may have changed, in any engine.

        Watch first and query then: a change before the query needs no call. Returns a function that ends the watch,
        which is harmless the second time.
        """
        self._watchers.setdefault(job_id, []).append(callback)

        def unwatch() -> None:
            callbacks = self._watchers.get(job_id, [])
            if callback in callbacks:
                callbacks.remove(callback)
            if not callbacks:
                self._watchers.pop(job_id, None)

        return unwatch

    # ---- the service

    def open(self, store: JobStore) -> None:
        """Take jobs from now on. The store has been started with ``note``."""
        self._store, self.is_open = store, True

    def close(self) -> None:
        """Take no more jobs. Reading goes on until the store itself is closed."""
        self.is_open = False

    def listen(self, callback: Callable[[StoreChange], None]) -> None:
        """Have ``callback`` called on the engine's thread with each change of the store; several may be one."""
        self._listeners.append(callback)

    def note(self, change: StoreChange) -> None:
        """Pass a change on to the engine's thread. Called on any thread, as the store's ``on_change``."""
        if self._news.add(change):
            self.call_soon_threadsafe(self._spread)

    def _spread(self) -> None:
        # Taken before anything is queried: news that comes later leads to another call.
        change = self._news.take()
        for listener in self._listeners:
            listener(change)
        watched = tuple(self._watchers) if change.jobs is None else change.jobs
        for job_id in watched:
            for callback in tuple(self._watchers.get(job_id, ())):
                callback()


class _News:
    """Changes that wait for the engine's thread, as one: a busy store must not fill the engine's queue of callbacks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_waiting = False
        self._endpoints: set[str] | None = set()
        self._jobs: set[str] | None = set()

    def add(self, change: StoreChange) -> bool:
        """Add a change; return whether the engine's thread is to be called."""
        with self._lock:
            self._endpoints = _union(self._endpoints, change.endpoints)
            self._jobs = _union(self._jobs, change.jobs)
            was_waiting, self._is_waiting = self._is_waiting, True
        return not was_waiting

    def take(self) -> StoreChange:
        """Return all changes since the last call."""
        with self._lock:
            endpoints, self._endpoints = self._endpoints, set()
            jobs, self._jobs = self._jobs, set()
            self._is_waiting = False
        return StoreChange(
            None if endpoints is None else frozenset(endpoints), None if jobs is None else frozenset(jobs)
        )


def _union(known: set[str] | None, new: frozenset[str] | None) -> set[str] | None:
    return None if known is None or new is None else known | new
