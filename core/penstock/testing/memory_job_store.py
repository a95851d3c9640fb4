"""A job store in memory, for tests: it keeps every rule of a store, except that it forgets everything at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from penstock.job_store import StoreChange, StoreLimits, StoreTransaction, StoreUnavailable, TransactionStore
from penstock.testing.memory_transaction import MemoryRows, MemoryTransaction

T = TypeVar("T")


class MemoryDatabase:
    """The rows that several stores share, as processes share a database."""

    def __init__(self) -> None:
        self.rows = MemoryRows()
        self.lock = threading.RLock()
        self.stores: list[MemoryJobStore] = []


class MemoryJobStore(TransactionStore):
    """A ``JobStore`` in memory. Its futures are done when they are returned.

    Parameters
    ----------
    database:
        The rows; stores with the same database see each other's jobs. Default: rows of its own.
    limits:
        The limits of the store.
    lease_clock:
        The clock of the leases.
    before_statement:
        Called with the name of each primitive before it runs.
    """

    def __init__(
        self,
        database: MemoryDatabase | None = None,
        *,
        limits: StoreLimits | None = None,
        lease_clock: Callable[[], float] = time.monotonic,
        before_statement: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self.database = MemoryDatabase() if database is None else database
        self._limits = StoreLimits() if limits is None else limits
        self._clock = lease_clock
        self._before_statement = before_statement
        self._on_change: Callable[[StoreChange], None] = lambda _: None

    def __repr__(self) -> str:
        return f"<MemoryJobStore: {len(self.database.rows.jobs)} jobs>"

    def start(self, on_change: Callable[[StoreChange], None]) -> None:
        """Open the store."""
        self._on_change = on_change
        self.database.stores.append(self)

    def close(self) -> None:
        """Close the store; the database keeps its rows."""
        if self in self.database.stores:
            self.database.stores.remove(self)

    def write(self, operation: Callable[[StoreTransaction], T]) -> Future[T]:
        """Run an operation, and undo it if it fails."""
        future: Future[T] = Future()
        if self not in self.database.stores:
            future.set_exception(StoreUnavailable("the job store is closed"))
            return future
        with self.database.lock:
            tx = MemoryTransaction(self.database.rows, self._limits, self._clock, self._before_statement)
            try:
                value = operation(tx)
                self._before_statement("commit")
            except BaseException as error:
                tx.roll_back()
                if not isinstance(error, Exception):
                    raise
                future.set_exception(error)
                return future
        future.set_result(value)
        if tx.changed_jobs:
            change = StoreChange(frozenset(tx.changed_endpoints), frozenset(tx.changed_jobs))
            for store in self.database.stores:
                store._on_change(change)
        return future

    def read(self, operation: Callable[[StoreTransaction], T]) -> Future[T]:
        """Run an operation that only reads."""
        return self.write(operation)
