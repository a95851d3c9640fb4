"""The store in SQLite: the conformance suite, and what a file brings with it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from penstock.job_store import JobQuery, JobStore, NewJob, StoreFull, StoreLimits, StoreRejected, StoreUnavailable
from penstock.testing import JobStoreSuite, MockClock
from penstock.testing.store_rules import done, error_of, ids
from penstock_jobs import SqliteJobStore, schema, sqlite_store
from tests.serving import wait_until

NOW = 1_800_000_000.0


class TestSqliteJobStore(JobStoreSuite):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "jobs.db"
        self.clock = MockClock()

    def open_store(self, limits: StoreLimits) -> JobStore:
        return SqliteJobStore(self.path, limits=limits, lease_clock=lambda: self.clock.now)

    def age_owners(self, store: JobStore, seconds: float) -> None:
        self.clock.advance(seconds)

    def test_it_is_durable_at_the_cost_of_an_fsync(self) -> None:
        """A write-ahead log, written through with each commit."""
        pragmas = ("journal_mode", "synchronous", "journal_size_limit")
        values = done(self.store.write(lambda tx: [pragma(tx, name) for name in pragmas]))  # type: ignore[attr-defined]
        assert values == ["wal", 2, 64 << 20]

    def test_jobs_are_there_after_a_restart(self) -> None:
        """Queued as before."""
        [job] = self.put()
        self.store.close()
        self.store = self.open()
        assert self.get(job).state == "queued"

    def test_the_tallies_are_those_of_the_rows(self) -> None:
        """The counts, which are kept beside the rows, agree with them after many changes."""
        self.put(5)
        self.put(2, endpoint="count")
        first, second, *_ = self.claim(3)
        done(self.store.give_back([first.key], now=self.now))
        done(self.store.remove("one", now=self.now))
        done(self.store.cancel(second.job.id, now=self.now))
        done(self.store.delete(second.job.id))
        counted = [(tally.endpoint, tally.state, tally.jobs, tally.size_bytes) for tally in self.tallies()]
        with sqlite3.connect(self.path) as connection:
            query = "SELECT endpoint, state, count(*), sum(size_bytes) FROM penstock_jobs GROUP BY 1, 2 ORDER BY 1, 2"
            assert connection.execute(query).fetchall() == counted
        connection.close()

    def tallies(self) -> Any:
        return done(self.store.counts()).tallies


def pragma(tx: Any, name: str) -> Any:
    return tx.connection.exec_driver_sql(f"PRAGMA {name}").scalar()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteJobStore]:
    store = SqliteJobStore(path, busy_timeout=0.1)
    store.start(lambda _: None)
    yield store
    store.close()


def new(number: int, **values: Any) -> NewJob:
    return NewJob(id=f"job-{number:03}", endpoint="square", **values)


def rejection(path: Path) -> str:
    with pytest.raises(StoreRejected) as caught:
        SqliteJobStore(path).start(lambda _: None)
    return caught.value.detail


def contents(path: Path) -> bytes:
    return path.read_bytes()


# ---- files that are not accepted


def test_a_corrupt_file_is_refused_and_left_alone(path: Path) -> None:
    """The message says what to do."""
    path.write_bytes(b"this is not a database" * 100)
    before = contents(path)
    assert "cannot be read as a database of SQLite" in rejection(path)
    assert contents(path) == before


def test_a_later_version_is_refused_and_left_alone(path: Path, store: SqliteJobStore) -> None:
    """An older Penstock does not write to tables that it does not know."""
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE penstock_meta SET version = 99")
    connection.close()
    assert "written by a later version of Penstock (tables of version 99" in rejection(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version FROM penstock_meta").fetchall() == [(99,)]
    connection.close()


def test_a_file_of_another_program_is_refused(path: Path) -> None:
    """Its tables are not mixed with ours."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (id)")
    connection.close()
    before = contents(path)
    assert "a file of another program (it has the table notes)" in rejection(path)
    assert contents(path) == before
    assert [file.name for file in path.parent.iterdir()] == ["jobs.db"]


def test_tables_without_their_version_are_refused(path: Path, store: SqliteJobStore) -> None:
    """They may be of any version."""
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE penstock_meta")
    connection.close()
    assert "but not penstock_meta" in rejection(path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """It is most often a misspelling."""
    assert f"there is no folder {tmp_path}/missing" in rejection(tmp_path / "missing" / "jobs.db")


def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest mount above the file counts, and of two on one point the later one."""
    mounts = path.with_name("mounts")
    line = "36 35 98:0 / {} rw,noatime master:1 - {} /dev/x rw\n"
    monkeypatch.setattr(sqlite_store, "MOUNTS", mounts)
    mounts.write_text(line.format("/", "ext4") + line.format(path.parent, "nfs4"))
    assert "network file system (nfs4)" in rejection(path)
    mounts.write_text(line.format(path.parent, "nfs4") + line.format(path.parent, "tmpfs") + line.format("/", "nfs"))
    assert sqlite_store.file_system_of(path) == "tmpfs"
    mounts.unlink()
    assert sqlite_store.file_system_of(path) is None


def test_old_tables_are_brought_up_to_date(path: Path, store: SqliteJobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each migration runs once, in order, and a failure leaves the old version."""
    store.close()
    steps: list[int] = []

    def fail(_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(schema, "MIGRATIONS", [lambda _: steps.append(1), fail])
    with pytest.raises(RuntimeError):
        SqliteJobStore(path).start(lambda _: None)
    monkeypatch.setattr(schema, "MIGRATIONS", [lambda _: steps.append(1), lambda _: steps.append(2)])
    for _ in range(2):
        again = SqliteJobStore(path)
        again.start(lambda _: None)
        again.close()
    assert steps == [1, 1, 2]


# ---- trouble while it is open


def test_a_full_disk_refuses_and_heals(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, and there is room again once something has been removed."""
    open_connection = SqliteJobStore._open
    pages = 200

    def with_little_room(self: SqliteJobStore) -> Any:
        connection = open_connection(self)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(SqliteJobStore, "_open", with_little_room)
    store = SqliteJobStore(path)
    store.start(lambda _: None)
    try:
        done(store.put([new(1)], now=NOW))
        assert isinstance(error_of(store.put([new(2, request=b"x" * 1_000_000)], now=NOW)), StoreFull)
        assert [job.id for job in done(store.list_jobs(JobQuery())).jobs] == ["job-001"]
        done(store.put([new(3)], now=NOW))
    finally:
        store.close()


def test_a_locked_database_is_unavailable_and_heals(path: Path, store: SqliteJobStore) -> None:
    """All that waited are answered at once, and each of them may be repeated."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    futures = [store.put([new(number)], now=NOW) for number in range(20)]
    assert all(isinstance(error_of(future), StoreUnavailable) for future in futures)
    assert done(store.list_jobs(JobQuery())).jobs == ()
    other.execute("ROLLBACK")
    other.close()
    assert done(store.put([new(1)], now=NOW))[0].is_new


def test_an_operation_that_fails_harms_none_beside_it(store: SqliteJobStore) -> None:
    """Its own writes are undone, and those that were to be committed with it are committed."""
    gate = threading.Event()

    def block(_: object) -> bool:
        return gate.wait(10)

    def fail(tx: Any) -> None:
        tx.advance_schedule("nightly", 1.0)
        raise ZeroDivisionError

    store.write(block)
    futures: list[Any] = [store.put([new(1)], now=NOW), store.write(fail), store.put([new(2)], now=NOW)]
    gate.set()
    assert [type(error_of(future)) for future in futures] == [type(None), ZeroDivisionError, type(None)]
    assert done(store.put_scheduled("nightly", 1.0, new(3), now=NOW)) is not None


def test_writes_that_queue_up_are_committed_together(path: Path, store: SqliteJobStore) -> None:
    """An fsync is shared by all that wait for one."""
    monitor = sqlite3.connect(path)
    gate = threading.Event()
    store.write(lambda _: gate.wait(10))
    futures = [store.put([new(number)], now=NOW) for number in range(100)]
    versions = {monitor.execute("PRAGMA data_version").fetchone()[0]}
    gate.set()
    for future in futures:
        done(future)
    versions.add(monitor.execute("PRAGMA data_version").fetchone()[0])
    monitor.close()
    assert max(versions) - min(versions) <= 1


def test_a_mistake_in_a_callback_does_not_end_the_writer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported as any other exception of a thread."""
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    def fail(_: object) -> None:
        raise ZeroDivisionError

    store = SqliteJobStore(path)
    store.start(fail)
    done(store.put([new(1)], now=NOW))
    assert done(store.get("job-001")).state == "queued"
    store.close()
    assert [report.exc_type for report in reported] == [ZeroDivisionError]


def test_what_was_called_before_the_close_is_done(path: Path, store: SqliteJobStore) -> None:
    """And what is called after it fails."""
    futures = [store.put([new(number)], now=NOW) for number in range(300)]
    store.close()
    assert all(done(future)[0].is_new for future in futures)
    assert isinstance(error_of(store.put([new(0)], now=NOW)), StoreUnavailable)
    assert isinstance(error_of(store.get("job-000")), StoreUnavailable)


def test_a_claim_and_a_sweep_read_from_indexes(store: SqliteJobStore) -> None:
    """No scan of the jobs, however many there are."""
    queries = {
        "ready": "SELECT id, principal, turn FROM penstock_jobs WHERE state = 'queued' AND turn IS NOT NULL "
        "AND endpoint = 'x' AND (start_by IS NULL OR start_by > 1) ORDER BY turn, id LIMIT 9",
        "due": "SELECT * FROM penstock_jobs WHERE state = 'queued' AND turn IS NULL AND not_before <= 1 "
        "ORDER BY not_before, id LIMIT 9",
        "owner": "SELECT * FROM penstock_jobs WHERE owner = 'x' AND owner IS NOT NULL",
    }
    for name, query in queries.items():
        rows = done(store.write(lambda tx, query=query: plan_of(tx, query)))  # type: ignore[misc]
        assert f"penstock_jobs_{name}" in rows[0]
        assert "TEMP B-TREE" not in "".join(rows) or name == "due"


def plan_of(tx: Any, query: str) -> list[str]:
    return [row[3] for row in tx.connection.execute(text("EXPLAIN QUERY PLAN " + query))]


# ---- several processes

ENGINE = """
import sys, time
from penstock.job_store import StoreOwner
from penstock_jobs import SqliteJobStore
store = SqliteJobStore(sys.argv[1])
store.start(lambda _: None)
store.register(StoreOwner("other", "host", 1), now=1.0).result()
print(len(store.claim("other", "square", 9, now=1_800_000_001.0).result()), flush=True)
time.sleep(60)
"""


@pytest.fixture
def other_engine(path: Path, store: SqliteJobStore) -> Iterator[subprocess.Popen[str]]:
    done(store.put([new(1), new(2)], now=NOW))
    process = subprocess.Popen([sys.executable, "-c", ENGINE, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "2\n"
    yield process
    process.kill()
    process.wait(timeout=10)
    process.stdout.close()


def test_jobs_of_a_killed_process_are_free_at_once(store: SqliteJobStore, other_engine: subprocess.Popen[str]) -> None:
    """Its lock shows that it is dead, long before its lease ends; while it lives, its jobs are its own."""
    assert done(store.sweep(now=NOW)).owners == ()
    other_engine.kill()
    other_engine.wait(timeout=10)
    swept = done(store.sweep(now=NOW))
    assert (swept.owners, swept.queued) == (("other",), ("job-001", "job-002"))
    wait_until(lambda: store.dead_owners() == [], "the lock file to be removed")


def test_a_stopped_process_keeps_its_lock_but_not_its_lease(
    path: Path, store: SqliteJobStore, other_engine: subprocess.Popen[str]
) -> None:
    """One that is alive and does not beat loses its jobs when the lease ends."""
    assert done(store.sweep(now=NOW, lease=30.0)).owners == ()
    wait_until(lambda: done(store.sweep(now=NOW, lease=0.01)).owners == ("other",), "the lease to end")


def test_commits_of_another_process_are_noticed(path: Path) -> None:
    """Without a query: SQLite counts the commits of others."""
    changed = threading.Event()
    store = SqliteJobStore(path)
    store.start(lambda _: changed.set())
    writer = SqliteJobStore(path)
    writer.start(lambda _: None)
    wait_until(lambda: store._data_version is not None, "the first look")
    changed.clear()
    done(writer.put([new(1)], now=NOW))
    assert changed.wait(10)
    store.close()
    writer.close()


def test_readers_do_not_keep_the_log_from_being_reset(path: Path, store: SqliteJobStore) -> None:
    """Their transactions are short, so the write-ahead log stays near the size of one checkpoint."""
    for round_number in range(30):
        done(store.put([new(round_number * 10 + n, request=b"x" * 50_000) for n in range(10)], now=NOW))
        assert len(done(store.list_jobs(JobQuery(limit=1000))).jobs) == (round_number + 1) * 10
    assert path.with_name("jobs.db-wal").stat().st_size < 12 << 20


def test_ids_are_returned_in_the_order_of_the_call(store: SqliteJobStore) -> None:
    """A group keeps its order."""
    assert ids(done(store.put([new(3), new(1), new(2)], now=NOW))) == ["job-003", "job-001", "job-002"]
