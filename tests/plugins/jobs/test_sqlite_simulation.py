"""The seeded simulation of a job store, with SQLite: engines are killed before any SQL statement, and at the commit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from sqlalchemy import event

from penstock.job_store import JobStore, StoreChange, StoreLimits
from penstock.testing.store_scene import OpenStore
from penstock.testing.store_simulation import StoreSimulation, memory_stores, simulate_store
from penstock_jobs import SqliteJobStore
from penstock_jobs.group_commit import PendingWrite
from penstock_jobs.sql_store import SqlJobStore

STEPS = 1500


class InlineStore(SqliteJobStore):
    """A store whose calls are done when they return, on the caller's thread, and which tells all stores of its news."""

    def __init__(self, path: Path, stores: list[InlineStore], before_statement: Callable[[str], None], **rest: Any):
        super().__init__(path, **rest)
        self._stores = stores
        self._before_statement = before_statement

    def _start_threads(self) -> None:
        self._stores.append(self)
        engine = self._write_engine
        event.listen(engine, "before_cursor_execute", lambda *values: self._before_statement(values[2]))
        event.listen(engine, "commit", lambda _: self._before_statement("COMMIT"))

    def _open(self) -> Any:
        connection = super()._open()
        connection.execute("PRAGMA synchronous = OFF")  # nothing here survives a power cut, and nothing needs to
        return connection

    def write(self, operation: Callable[[Any], Any]) -> Future[Any]:
        pending = PendingWrite(operation)
        self._commit([pending])
        return pending.future

    def read(self, operation: Callable[[Any], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(self._read(operation))
        except Exception as error:
            future.set_exception(error)
        return future

    def _tell(self, change: StoreChange) -> None:
        for store in self._stores:
            SqlJobStore._tell(store, change)

    def close(self) -> None:
        self._stores.remove(self)
        self._locks.abandon()
        self._disconnect()

    def dead_owners(self) -> list[str]:
        return []  # leases alone decide: they are what is simulated


def new_databases(folder: Path) -> Callable[[], OpenStore]:
    numbers = itertools.count(1)

    def new_database() -> OpenStore:
        path = folder / f"{next(numbers)}.db"
        stores: list[InlineStore] = []

        def open_store(
            limits: StoreLimits, lease_clock: Callable[[], float], before_statement: Callable[[str], None]
        ) -> JobStore:
            return InlineStore(path, stores, before_statement, limits=limits, lease_clock=lease_clock)

        return open_store

    return new_database


def test_no_rule_is_broken(tmp_path: Path) -> None:
    """The rules hold in SQL as they do in memory."""
    totals = simulate_store(STEPS, 1, new_databases(tmp_path))
    assert totals["steps"] >= STEPS


def test_it_makes_the_same_transitions_as_the_store_in_memory(tmp_path: Path) -> None:
    """Without crashes the two are indistinguishable: the order of claims, the refusals and the counts included."""
    without_crashes = [seed for seed in range(40) if not has_crashes(seed)][:3]
    for seed in without_crashes:
        (tmp_path / str(seed)).mkdir()
        assert history(seed, new_databases(tmp_path / str(seed))()) == history(seed, memory_stores())


def has_crashes(seed: int) -> bool:
    return StoreSimulation(seed, memory_stores())._kills > 0


def history(seed: int, open_store: OpenStore) -> Any:
    return StoreSimulation(seed, open_store).run()
