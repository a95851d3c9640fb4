"""A job store on an SQL database: one thread writes, a few read, each with connections of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from penstock.errors import PenstockError
from penstock.job_store import (
    IdTaken,
    StoreChange,
    StoreFull,
    StoreLimits,
    StoreTransaction,
    StoreUnavailable,
    TransactionStore,
)
from penstock_jobs import schema
from penstock_jobs.group_commit import CommitThread, PendingWrite
from penstock_jobs.sql_transaction import SqlTransaction
from penstock_jobs.statements import Upserts

T = TypeVar("T")

READERS: Final = 4
REPETITIONS: Final = 5
"""An operation that loses against another one is repeated this often."""
POLL_SECONDS: Final = 0.05
"""An idle writer looks this often for commits of other processes."""
ANYTHING: Final = StoreChange(None, None)
FULL_MARKS: Final = ("disk is full", "no space left", "disk full")
LOST_STATES: Final = frozenset({"40001", "40P01"})
"""PostgreSQL's codes of a conflict between transactions, and of a deadlock."""


class Spoiled(Exception):
    """An operation has failed after it had written: its transaction must not be committed."""


class SqlJobStore(TransactionStore):
    """The part of a store that is the same for all SQL databases.

    Parameters
    ----------
    limits:
        The limits of the store.

    Attributes
    ----------
    must_exist:
        True to open the store only if its database has tables of this version, and to create and change none: for
        tools that run beside engines. Set it before ``start``.
    """

    def __init__(self, limits: StoreLimits | None) -> None:
        super().__init__()
        self.must_exist = False
        self._limits = StoreLimits() if limits is None else limits
        self._on_change: Callable[[StoreChange], None] = lambda _: None
        self._slot = 0
        self._upserts: Upserts
        self._write_engine: Engine
        self._read_engine: Engine
        self._writer: CommitThread
        self._readers: ThreadPoolExecutor
        self._is_open = False

    # ---- defined by each database

    def _connect(self) -> None:
        """Make the engines, and check that the database can be used."""
        raise NotImplementedError

    def _prepare(self, connection: Connection) -> None:
        """Create the tables, or check them."""
        if self.must_exist:
            schema.require(connection, self._name())
        else:
            schema.prepare(connection, self._name())

    def _lease_clock(self, connection: Connection) -> float:
        """Return the time on the clock of the leases."""
        raise NotImplementedError

    def _look_for_commits(self) -> None:
        """Call ``_tell`` if another process has committed. On the writer's thread, every ``POLL_SECONDS`` or so."""

    def _announce(self, connection: Connection, change: StoreChange) -> None:
        """Announce a change to other processes, in the transaction that makes it."""

    # ---- life

    def start(self, on_change: Callable[[StoreChange], None]) -> None:
        """Open the store."""
        self._on_change = on_change
        try:
            with translated_errors():
                self._connect()
                self._upserts = Upserts(self._write_engine.dialect.name)
                with self._write_engine.begin() as connection:
                    self._prepare(connection)
        except BaseException:
            self._disconnect()
            raise
        self._start_threads()
        self._is_open = True

    def _start_threads(self) -> None:
        self._writer = CommitThread(self._commit, self._look_for_commits, POLL_SECONDS)
        self._writer.start()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="penstock-jobs-reader")

    def _name(self) -> str:
        return self._write_engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Finish what was called, and close."""
        if self._is_open:
            self._is_open = False
            self._writer.close()
            self._readers.shutdown()
            self._disconnect()

    def _disconnect(self) -> None:
        for name in ("_write_engine", "_read_engine"):
            engine: Engine | None = getattr(self, name, None)
            if engine is not None:
                engine.dispose()

    # ---- transactions

    def write(self, operation: Callable[[StoreTransaction], T]) -> Future[T]:
        """Run an operation on the writer's thread."""
        if not self._is_open:
            return failed(StoreUnavailable("the job store is not open"))
        return self._writer.submit(operation)

    def read(self, operation: Callable[[StoreTransaction], T]) -> Future[T]:
        """Run an operation on a reader's thread, in a transaction as short as the operation."""
        if not self._is_open:
            return failed(StoreUnavailable("the job store is not open"))
        return self._readers.submit(self._read, operation)

    def _read(self, operation: Callable[[StoreTransaction], T]) -> T:
        with translated_errors(), self._read_engine.connect() as connection:
            return operation(self._transaction(connection))

    def _transaction(self, connection: Connection) -> SqlTransaction:
        return SqlTransaction(connection, self._upserts, self._limits, self._slot, self._lease_clock)

    def _commit(self, together: list[PendingWrite[Any]]) -> None:
        """Run operations in one transaction; if one spoils it, each in its own."""
        try:
            results = self._run_together(together)
        except Exception as failure:
            if len(together) > 1 and not is_outage(failure):
                for pending in together:
                    self._commit_alone(pending)
            elif is_outage(failure):
                for pending in together:
                    pending.future.set_exception(translated(failure))
            else:
                self._commit_alone(together[0])
            return
        for pending, value, error in results:
            if error is None:
                pending.future.set_result(value)
            else:
                pending.future.set_exception(error)

    def _run_together(
        self, together: list[PendingWrite[Any]]
    ) -> list[tuple[PendingWrite[Any], Any, PenstockError | None]]:
        results: list[tuple[PendingWrite[Any], Any, PenstockError | None]] = []
        with self._write_engine.begin() as connection:
            tx = self._transaction(connection)
            for pending in together:
                writes = tx.writes
                try:
                    results.append((pending, pending.operation(tx), None))
                except PenstockError as error:
                    if tx.writes != writes:
                        raise Spoiled from error
                    results.append((pending, None, error))
            tx.finish()
            change = StoreChange(frozenset(tx.changed_endpoints), frozenset(tx.changed_jobs))
            if tx.changed_jobs:
                self._announce(connection, change)
        if tx.changed_jobs:
            self._tell(change)
        return results

    def _commit_alone(self, pending: PendingWrite[Any]) -> None:
        """Run one operation in its own transaction; repeat it if it has lost against another one."""
        problem: Exception | None = None
        for _ in range(REPETITIONS):
            try:
                [(_, value, error)] = self._run_together([pending])
            except Spoiled as spoiled:
                problem = spoiled.__cause__ if isinstance(spoiled.__cause__, Exception) else spoiled
                break
            except Exception as failure:
                problem = failure
                if not has_lost(failure):
                    break
            else:
                if error is None:
                    pending.future.set_result(value)
                else:
                    pending.future.set_exception(error)
                return
        assert problem is not None
        pending.future.set_exception(translated(problem))

    def _tell(self, change: StoreChange) -> None:
        """Inform the engine. A mistake in its callback must not end the thread."""
        try:
            self._on_change(change)
        except Exception as error:
            threading.excepthook(
                threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
            )


def failed(error: Exception) -> Future[Any]:
    """Return a future with an error."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def is_outage(error: BaseException) -> bool:
    """Return whether the database did not answer, so that repeating the operation at once cannot help."""
    if isinstance(error, PoolTimeout | InterfaceError):
        return True
    return isinstance(error, OperationalError) and not has_lost(error) and not is_full(str(error.orig).lower())


def has_lost(error: BaseException) -> bool:
    """Return whether a transaction has lost against another one, and may be repeated."""
    if isinstance(error, IdTaken):
        return True
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in LOST_STATES


def is_full(text: str) -> bool:
    """Return whether a message of a database says that its disk is full."""
    return any(mark in text for mark in FULL_MARKS)


def translated(error: Exception) -> Exception:
    """Return an error of the database as one of the store."""
    if isinstance(error, IdTaken):
        return StoreUnavailable(f"the id {error} is taken by other jobs again and again")
    if isinstance(error, PoolTimeout):
        return StoreUnavailable("the connections to the database of the job store are all in use", retry_after=1.0)
    if not isinstance(error, DBAPIError):
        return error
    text = " ".join(str(error.orig).split())
    if is_full(text.lower()):
        return StoreFull(f"the disk of the job store is full: {text}", retry_after=30.0)
    return StoreUnavailable(f"the database of the job store does not answer: {text}", retry_after=1.0)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise errors of the database as those of the store."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        raise translated(error) from error


def incarnation() -> str:
    """Return a name of this store object that no other one has."""
    return f"{os.getpid()}-{os.urandom(6).hex()}"
