"""The base of the rules of a job store: how a test opens stores, and makes and takes jobs."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cached_property
from typing import Any, Final, TypeVar

from penstock.job_store import (
    ClaimedJob,
    JobEnding,
    JobEvent,
    JobStore,
    NewJob,
    StoreChange,
    StoredJob,
    StoreLimits,
    StoreOwner,
)

T = TypeVar("T")

NOW: Final = 1_800_000_000.0
"""The wall clock at the start of each test, in Unix seconds."""
LEASE: Final = 30.0
PATIENCE: Final = 30.0
"""Seconds after which a call that is not done is considered lost."""

SUCCEEDED: Final = JobEnding(state="succeeded", result=b"16", media_type="application/json", status=200)
FAILED: Final = JobEnding(state="failed", code="handler-error", error=b'{"code": "handler-error"}')


def done(future: Future[T]) -> T:
    """Return the value of a call of the store, or raise its error."""
    return future.result(timeout=PATIENCE)


def error_of(future: Future[Any]) -> BaseException | None:
    """Return the error of a call of the store; None if it has none."""
    return future.exception(timeout=PATIENCE)


def ids(jobs: Any) -> list[str]:
    """Return the ids of jobs, in order."""
    return [job.id if isinstance(job, StoredJob) else job.job.id for job in jobs]


class StoreRules:
    """One group of the rules. A subclass for a store defines ``open_store`` and ``age_owners``.

    Within one test, all stores that ``open_store`` returns are of the same database, as those of several engines are.
    """

    def open_store(self, limits: StoreLimits) -> JobStore:
        """Return a store of the test's database, which the suite starts and closes."""
        raise NotImplementedError

    def age_owners(self, store: JobStore, seconds: float) -> None:
        """Let time pass on the clock of the leases, without a sign of life from any owner."""
        raise NotImplementedError

    def setup_method(self) -> None:
        """Begin without a store: ``open_store`` may need fixtures, which come later."""
        self._numbers = itertools.count(1)
        self._opened: list[JobStore] = []
        self.now = NOW
        self.changes: list[StoreChange] = []
        self.changed = threading.Event()

    @cached_property
    def store(self) -> JobStore:
        """The test's first store, with an owner ``one``."""
        store = self.open()
        done(store.register(StoreOwner("one", "host", 1), now=self.now))
        return store

    def teardown_method(self) -> None:
        """Close every store that the test has opened."""
        for store in self._opened:
            store.close()

    def open(
        self, limits: StoreLimits | None = None, on_change: Callable[[StoreChange], None] | None = None
    ) -> JobStore:
        """Open one more store of the same database."""
        store = self.open_store(StoreLimits() if limits is None else limits)
        store.start(self._note if on_change is None else on_change)
        self._opened.append(store)
        return store

    def _note(self, change: StoreChange) -> None:
        self.changes.append(change)
        self.changed.set()

    def add_owner(self, owner: str) -> None:
        """Register an owner."""
        done(self.store.register(StoreOwner(owner, "host", 1), now=self.now))

    def new(self, **values: Any) -> NewJob:
        """Return a new job of the endpoint ``square``."""
        defaults: dict[str, Any] = {"id": f"job-{next(self._numbers):03}", "endpoint": "square", "request": b"4"}
        return NewJob(**(defaults | values))

    def put(self, number: int = 1, **values: Any) -> list[str]:
        """Store jobs one after the other, a millisecond apart; return their ids."""
        stored = []
        for _ in range(number):
            [job] = done(self.store.put([self.new(**values)], now=self.now))
            stored.append(job.job.id)
            self.now += 0.001
        return stored

    def claim(
        self, number: int = 1, owner: str = "one", endpoint: str = "square", most_running: int | None = None
    ) -> list[ClaimedJob]:
        """Claim jobs."""
        return done(self.store.claim(owner, endpoint, number, now=self.now, most_running=most_running))

    def running(self, **values: Any) -> ClaimedJob:
        """Store a job, claim it and start it."""
        self.put(**values)
        [claimed] = self.claim()
        assert done(self.store.started(claimed.key, now=self.now))
        return claimed

    def get(self, job_id: str) -> StoredJob:
        """Return a job."""
        return done(self.store.get(job_id))

    def events(self, job_id: str) -> list[JobEvent]:
        """Return all events of a job."""
        events = done(self.store.events(job_id))
        return list(events)

    def kinds(self, job_id: str) -> list[str]:
        """Return the events of a job in short: the kind, or the state of a change of state."""
        return [
            event.data.split(b'"')[3].decode() if event.kind == "state" else event.kind for event in self.events(job_id)
        ]
