"""The store in PostgreSQL: the conformance suite, and what a server and several hosts bring with them."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from penstock.job_store import (
    JobEnding,
    JobQuery,
    JobStore,
    NewJob,
    StoreChange,
    StoreLimits,
    StoreOwner,
    StoreRejected,
    StoreUnavailable,
    store_operations,
)
from penstock.testing import JobStoreSuite
from penstock.testing.store_rules import done, error_of, ids
from penstock_jobs import PostgresJobStore, postgres_store
from tests.moved_clock import MovedClock, needs_moved_clock
from tests.postgres import PostgresServer, needs_postgres, running_postgres
from tests.postgres_proxy import CuttingProxy
from tests.serving import wait_until

pytestmark = needs_postgres
NOW = 1_800_000_000.0
LEASE = 2.0
SUCCEEDED = JobEnding(state="succeeded", result=b"16")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    name = server.new_database()
    yield name
    server.drop(name)


class TestPostgresJobStore(JobStoreSuite):
    @pytest.fixture(autouse=True)
    def _database(self, server: PostgresServer, database: str) -> Iterator[None]:
        self.url = server.url(database)
        yield
        self.teardown_method()  # before the database goes

    def open_store(self, limits: StoreLimits) -> JobStore:
        return PostgresJobStore(self.url, limits=limits)

    def age_owners(self, store: JobStore, seconds: float) -> None:
        statement = text(f"UPDATE penstock_owners SET beat = beat - {seconds}")
        done(store.write(lambda tx: tx.connection.execute(statement)))  # type: ignore[attr-defined]

    def test_the_tallies_are_those_of_the_rows(self) -> None:
        """Whatever several stores have done at the same time."""
        stores = [self.store, self.open(), self.open()]
        self.add_owner("two")
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda n: done(stores[n % 3].put([self.new(id=f"j-{n}")], now=self.now)), range(60)))
            list(pool.map(lambda n: self._take(stores[n % 3], ("one", "two")[n % 2]), range(30)))
        query = text("SELECT endpoint, state, count(*), sum(size_bytes) FROM penstock_jobs GROUP BY 1, 2 ORDER BY 1, 2")
        rows = done(self.store.write(lambda tx: tx.connection.execute(query).all()))  # type: ignore[attr-defined]
        counted = [(t.endpoint, t.state, t.jobs, t.size_bytes) for t in done(self.store.counts()).tallies]
        assert [tuple(row) for row in rows] == counted

    def _take(self, store: JobStore, owner: str) -> None:
        for claimed in done(store.claim(owner, "square", 2, now=self.now)):
            done(store.finish(claimed.key, SUCCEEDED, now=self.now))


@pytest.fixture
def store(server: PostgresServer, database: str) -> Iterator[PostgresJobStore]:
    store = PostgresJobStore(server.url(database))
    store.start(lambda _: None)
    done(store.register(StoreOwner("one"), now=NOW))
    yield store
    store.close()


def new(number: int, **values: Any) -> NewJob:
    return NewJob(id=f"job-{number:03}", endpoint="square", **values)


def test_many_engines_claim_each_job_once(server: PostgresServer, database: str, store: PostgresJobStore) -> None:
    """Locked rows are skipped, so none waits for another, and none gets what another has."""
    others = [PostgresJobStore(server.url(database)) for _ in range(3)]
    for other in others:
        other.start(lambda _: None)
    done(store.put([new(number) for number in range(400)], now=NOW))

    def claim(number: int) -> list[str]:
        chosen = [store, *others][number % 4]
        found: list[str] = []
        while claimed := done(chosen.claim("one", "square", 3, now=NOW)):
            found += ids(claimed)
        return found

    with ThreadPoolExecutor(8) as pool:
        claimed = [job for found in pool.map(claim, range(8)) for job in found]
    for other in others:
        other.close()
    assert sorted(claimed) == [f"job-{number:03}" for number in range(400)]


@pytest.mark.parametrize("seed", range(4))
def test_a_claim_takes_what_it_asks_for_under_any_plan(
    server: PostgresServer, database: str, store: PostgresJobStore, seed: int
) -> None:
    """A limit beside a lock is obeyed whatever kinds of joins the planner uses; in a subquery it would not be."""
    dice = random.Random(seed)
    names = ["mergejoin", "nestloop", "sort", "seqscan", "indexscan", "indexonlyscan", "bitmapscan", "material"]
    settings = {name: dice.choice(("on", "off")) for name in names} | {"hashjoin": "off", "hashagg": "off"}
    for name, value in settings.items():
        server.execute(f"ALTER DATABASE {database} SET enable_{name} = {value}")
    done(store.put([new(number, principal=f"p{number % (1 + 2 * (seed % 2))}") for number in range(200)], now=NOW))
    server.execute("ANALYZE", database)
    planned = PostgresJobStore(server.url(database))
    planned.start(lambda _: None)
    sizes = [len(done(planned.claim("one", "square", number, now=NOW))) for number in (1, 1, 5, 1, 20, 1)]
    planned.close()
    assert sizes == [1, 1, 5, 1, 20, 1]


def test_engines_that_start_together_create_the_tables_once(server: PostgresServer, database: str) -> None:
    """All of them can be used."""
    stores = [PostgresJobStore(server.url(database)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda store: store.start(lambda _: None), stores))
    for number, store in enumerate(stores):
        done(store.put([new(number)], now=NOW))
    for store in stores:
        store.close()
    assert server.execute("SELECT version FROM penstock_meta", database) == [(1,)]


def test_an_id_that_was_taken_in_the_meantime_is_noticed(server: PostgresServer, database: str) -> None:
    """Two engines that both find an id free store one job, and both return it."""
    stores = [PostgresJobStore(server.url(database)) for _ in range(2)]
    for store in stores:
        store.start(lambda _: None)
    meeting = threading.Barrier(2)
    named = new(1, is_named=True)
    puts = [store.write(lambda tx: meeting_put(tx, meeting, named)) for store in stores]
    results = [done(future)[0] for future in puts]
    for store in stores:
        store.close()
    assert sorted(put.is_new for put in results) == [False, True]
    assert results[0].job == results[1].job


def meeting_put(tx: Any, meeting: threading.Barrier, job: NewJob) -> Any:
    """Put a job; both engines look before either inserts. The one that has lost does not insert again."""
    insert = tx.insert

    def insert_together(row: Any, new_job: NewJob) -> None:
        meeting.wait(timeout=10)
        insert(row, new_job)

    tx.insert = insert_together
    return store_operations.put(tx, [job], NOW)


def test_a_sweep_and_a_claim_never_leave_a_job_without_an_owner(
    server: PostgresServer, database: str, store: PostgresJobStore
) -> None:
    """While a claim is under way, its owner cannot be removed; afterwards the owner claims nothing."""
    sweeper = PostgresJobStore(server.url(database))
    sweeper.start(lambda _: None)
    orphans = (
        "SELECT count(*) FROM penstock_jobs WHERE owner IS NOT NULL AND owner NOT IN (SELECT id FROM penstock_owners)"
    )
    for number in range(60):
        done(store.put([new(number, max_claims=1000)], now=NOW))
        done(store.register(StoreOwner("one"), now=NOW))
        claim = store.claim("one", "square", 9, now=NOW)
        done(sweeper.sweep(now=NOW, lease=0.0))
        error_of(claim)
        assert server.execute(orphans, database) == [(0,)]
    sweeper.close()


# ---- the clock of the leases


@needs_moved_clock
def test_a_leap_of_the_clock_makes_nobody_look_dead() -> None:
    """Neither of two engines, of which each sweeps; an owner that does not beat any more is dead a lease later."""
    with running_postgres() as server:
        clock = MovedClock(server.socket_path.parent)
        server.stop()
        server.start(environment=clock.environment)
        url = server.url(server.new_database())
        stores = [PostgresJobStore(url) for _ in range(2)]
        for store, owner in zip(stores, ("one", "two"), strict=True):
            store.start(lambda _: None)
            done(store.register(StoreOwner(owner), now=NOW))
            done(store.sweep(now=NOW, lease=LEASE))
        for leap in (3600.0, 0.0, -3600.0):
            clock.move(leap)
            for store, owner in zip(stores, ("one", "two"), strict=True):
                assert done(store.sweep(now=NOW, lease=LEASE)).owners == ()
                assert done(store.beat(owner)).is_owner
        wait_until(lambda: keep_alive(stores[0]) == ("two",), "the end of the other one")
        for store in stores:
            store.close()


def keep_alive(store: PostgresJobStore) -> tuple[str, ...]:
    assert done(store.beat("one")).is_owner
    return done(store.sweep(now=NOW, lease=LEASE)).owners


# ---- notifications


def test_another_process_is_notified_of_what_has_changed(
    server: PostgresServer, database: str, store: PostgresJobStore
) -> None:
    """With the endpoint and the job, and without waiting for a poll."""
    changes: list[StoreChange] = []
    other = PostgresJobStore(server.url(database))
    other.start(changes.append)
    wait_until(lambda: bool(changes), "the listener to listen")
    done(store.put([new(1)], now=NOW))
    wait_until(lambda: StoreChange(frozenset({"square"}), frozenset({"job-001"})) in changes, "the notification")
    done(store.put([new(number) for number in range(2, 900)], now=NOW))
    wait_until(lambda: changes[-1] == StoreChange(None, None), "a notification without names: there are too many")
    other.close()


def test_a_lost_notification_is_made_up_for_by_a_poll(
    server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener reports once in a while that anything may have changed, also while its connection is cut."""
    monkeypatch.setattr(postgres_store, "LISTEN_SECONDS", 0.05)
    woken = threading.Event()
    store = PostgresJobStore(server.url(database))
    store.start(lambda _: woken.set())
    for _ in range(3):
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND query LIKE 'LISTEN%'"
        )
        woken.clear()
        assert woken.wait(10)
    store.close()


# ---- trouble


def test_a_server_that_is_away_is_unavailable_and_heals(server: PostgresServer, database: str) -> None:
    """Writes and reads fail with an error that says so, and work again as soon as the server does."""
    store = PostgresJobStore(server.url(database))
    store.start(lambda _: None)
    try:
        done(store.put([new(1)], now=NOW))
        server.stop()
        assert isinstance(error_of(store.put([new(2)], now=NOW)), StoreUnavailable)
        assert isinstance(error_of(store.get("job-001")), StoreUnavailable)
        server.start()
        wait_until(lambda: error_of(store.put([new(3)], now=NOW)) is None, "the store to heal")
        assert sorted(ids(done(store.list_jobs(JobQuery())).jobs)) == ["job-001", "job-003"]
    finally:
        store.close()


@pytest.mark.parametrize(("parameters", "seconds"), [("", 10), ("&tcp_user_timeout=60000", 60)])
def test_a_host_that_has_vanished_is_noticed_within_seconds(
    server: PostgresServer, database: str, parameters: str, seconds: int
) -> None:
    """By both kinds of connections, whether they wait to send or to receive; the URL may ask for another time."""
    with CuttingProxy(server.socket_path) as proxy:
        store = PostgresJobStore(server.url_at(proxy.address, database) + parameters)
        store.start(lambda _: None)
        try:
            for engine in (store._write_engine, store._read_engine):
                with engine.connect() as connection, socket_of(connection) as found:
                    named = ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
                    options = [found.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in named]
                    assert options == [seconds * 1000, 4, 2, 3]
        finally:
            store.close()


def socket_of(connection: Any) -> socket.socket:
    return socket.fromfd(connection.connection.dbapi_connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)


def test_a_deadlock_is_resolved_by_doing_it_again(
    server: PostgresServer, database: str, store: PostgresJobStore
) -> None:
    """Two transactions that wait for each other's rows both succeed in the end."""
    server.execute(f"ALTER DATABASE {database} SET deadlock_timeout = '20ms'")
    stores = [PostgresJobStore(server.url(database)) for _ in range(2)]
    for other in stores:
        other.start(lambda _: None)
    done(store.put([new(1), new(2)], now=NOW))
    meeting = threading.Barrier(2)
    has_met: set[str] = set()

    def find_both(tx: Any, order: tuple[str, str]) -> list[str]:
        first = tx.find(order[0])
        if order[0] not in has_met:  # and not when it is repeated
            has_met.add(order[0])
            meeting.wait(timeout=10)
        return ids([first, tx.find(order[1])])

    orders = [("job-001", "job-002"), ("job-002", "job-001")]
    futures = [
        other.write(lambda tx, order=order: find_both(tx, order))  # type: ignore[misc]
        for other, order in zip(stores, orders, strict=True)
    ]
    assert [tuple(done(future)) for future in futures] == orders
    for other in stores:
        other.close()


def test_a_later_version_is_refused(server: PostgresServer, database: str, store: PostgresJobStore) -> None:
    """And not overwritten."""
    server.execute("UPDATE penstock_meta SET version = 99", database)
    with pytest.raises(StoreRejected, match="tables of version 99"):
        PostgresJobStore(server.url(database)).start(lambda _: None)
    assert server.execute("SELECT version FROM penstock_meta", database) == [(99,)]


def test_a_url_that_cannot_be_read_is_refused_without_being_shown() -> None:
    """It may contain a password."""
    with pytest.raises(StoreRejected, match="write postgresql://") as caught:
        PostgresJobStore("secret")
    assert "secret" not in str(caught.value)


def test_an_idle_store_costs_little(store: PostgresJobStore) -> None:
    """Its threads wait; they do not spin."""
    began = time.process_time()
    time.sleep(1.0)  # to measure that nothing happens
    assert time.process_time() - began < 0.2
