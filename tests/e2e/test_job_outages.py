"""Background jobs in real servers whose PostgreSQL is taken away. After each test the rules are checked by SQL."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psycopg
import pytest

from penstock.job_store import NewJob
from penstock_jobs import PostgresJobStore
from tests.client.scripted_server import ScriptedServer, answer
from tests.e2e.job_harness import JobDatabase, put, send, submit
from tests.postgres import PostgresServer, needs_postgres, running_postgres
from tests.postgres_proxy import CuttingProxy
from tests.serving import Served, wait_until

pytestmark = [pytest.mark.e2e, needs_postgres]

WEBHOOKS = {
    "PENSTOCK_JOBS_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "PENSTOCK_JOBS_WEBHOOK_HOSTS": "127.0.0.1",
}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def jobs(server: PostgresServer, tmp_path: Path) -> Iterator[JobDatabase]:
    found = JobDatabase(tmp_path, server)
    yield found
    found.check()
    server.drop(found.name)


class Callers:
    """Callers that go on whatever happens: some store jobs, each until it is accepted, and one calls directly."""

    def __init__(self, served: Served, webhook: str) -> None:
        self._served, self._webhook = served, webhook
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._store, self._store, self._call)]
        self.accepted: list[str] = []
        self.refusals: set[tuple[int, str]] = set()
        self.calls: list[tuple[int, float]] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _store(self) -> None:
        while not self._ending.is_set():
            name = f"load-{next(_numbers)}"
            while (found := put(self._served, name, "square", self._webhook, input=3.0)).status not in (200, 201):
                self.refusals.add((found.status, found.json()["error"]["code"]))
                time.sleep(0.05)
            self.accepted.append(name)

    def _call(self) -> None:
        while not self._ending.is_set():
            found = send(self._served, "POST", "/sleep", {"seconds": 0.0})
            self.calls.append((found.status, found.seconds))
            time.sleep(0.02)

    def wait_accepted(self, number: int) -> None:
        already = len(self.accepted)
        wait_until(lambda: len(self.accepted) >= already + number, "jobs to be accepted", timeout=30)


def restart(server: PostgresServer, signal_number: int) -> None:
    server.stop(signal_number)
    time.sleep(0.5)  # an outage, and not only a cut
    server.start()


def freeze(server: PostgresServer) -> None:
    """Stop all its processes for a second: connections stay, without an answer."""
    pids = server.processes()
    for signal_number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)
        if signal_number == signal.SIGSTOP:
            time.sleep(1.0)


FAULTS: dict[str, Callable[[PostgresServer, str], object]] = {
    "a proper shutdown": lambda server, _: restart(server, signal.SIGINT),
    "an immediate shutdown": lambda server, _: restart(server, signal.SIGQUIT),
    "a kill": lambda server, _: restart(server, signal.SIGKILL),
    "a freeze": lambda server, _: freeze(server),
    "cut connections": lambda server, database: server.end_connections(database),
}


@pytest.mark.timed
@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=[pytest.mark.thorough, pytest.mark.timeout(600)])])
def test_whatever_happens_to_the_database_nothing_is_lost(
    jobs: JobDatabase, server: PostgresServer, rounds: int
) -> None:
    """Under load: each accepted job has one end and its webhook; direct calls go on; the server heals by itself."""
    with ScriptedServer([(answer(),)]) as receiver, jobs.serve(**WEBHOOKS) as served:
        long = submit(served, "sleep", seconds=30)  # it is running in all outages, by one claim
        with Callers(served, receiver.url) as callers:
            for fault in [*FAULTS.values()] * rounds:
                callers.wait_accepted(10)
                fault(server, jobs.name)
                callers.wait_accepted(10)
        accepted = callers.accepted
        jobs.wait_final(*accepted[-1:])
        wait_until(lambda: jobs.states() == {"succeeded": len(accepted), "running": 1}, "the ends", timeout=30)
        wait_until(lambda: undelivered(jobs) == [], "the deliveries", timeout=30)
        assert jobs.job(long) == ("running", None, 1)
        assert send(served, "POST", f"/v1/jobs/{long}/cancel?wait=10").json()["state"] == "cancelled"
    assert callers.refusals <= {(503, "store-unavailable")}
    assert {status for status, _ in callers.calls} == {200}
    assert max(seconds for _, seconds in callers.calls) < 1.0
    webhook_ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(set(webhook_ids)) == len(accepted)
    runs = sum(name in accepted for name, _ in jobs.notes("run"))
    print(f"{len(accepted)} jobs ran {runs} times and sent {len(webhook_ids)} webhooks")


def undelivered(jobs: JobDatabase) -> list[object]:
    return jobs.rows("SELECT id, state, owner, sent, error FROM penstock_deliveries WHERE state != 'delivered'")


@pytest.mark.timed
def test_a_database_without_a_free_connection_is_waited_for(jobs: JobDatabase, server: PostgresServer) -> None:
    """Another client holds them all: callers hear it within seconds, direct calls and the running job go on."""
    restart_with(server, "max_connections=16")
    try:
        with jobs.serve() as served:
            before = submit(served, "sleep", seconds=1.0)
            wait_until(lambda: jobs.notes("run", before), "the start")
            with contextlib.ExitStack() as stack:
                take_all(server, jobs.name, stack)
                refused = put(served, "refused", "square", input=2.0)
                assert (refused.status, refused.json()["error"]["code"]) == (503, "store-unavailable")
                assert refused.seconds < 5.0
                until = time.monotonic() + 1.5
                while time.monotonic() < until:
                    direct = send(served, "POST", "/square", {"input": 2.0})
                    assert (direct.status, direct.seconds < 1.0) == (200, True)
            after = submit(served, "square", input=2.0)
            jobs.wait_final(before, after)
            assert jobs.job(before) == ("succeeded", None, 1)
    finally:
        restart_with(server)


def restart_with(server: PostgresServer, *settings: str) -> None:
    server.stop()
    server.start(*settings)


def take_all(server: PostgresServer, database: str, stack: contextlib.ExitStack) -> None:
    """Cut the connections of all other clients, again and again, until all are this client's."""
    held: list[psycopg.Connection] = []

    def take() -> bool:
        try:
            while True:
                connection = stack.enter_context(psycopg.connect(server.url(database), autocommit=True))
                held.append(connection)
        except psycopg.OperationalError:
            others = held[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                "AND pid != ALL(%s)",
                [[connection.info.backend_pid for connection in held]],
            )
            return others.fetchall() == []

    wait_until(take, "all connections")


# ---- lost answers


@pytest.fixture
def proxied(server: PostgresServer, tmp_path: Path) -> Iterator[tuple[JobDatabase, CuttingProxy]]:
    with CuttingProxy(server.socket_path) as proxy:
        found = JobDatabase(tmp_path, server, address=proxy.address)
        yield found, proxy
        found.check()
    server.drop(found.name)


def test_what_was_committed_without_an_answer_is_found_again(proxied: tuple[JobDatabase, CuttingProxy]) -> None:
    """The connection is cut between the commit and its answer: of a claim, an end, a job, and a delivery."""
    jobs, proxy = proxied
    with ScriptedServer([(answer(),)]) as receiver, jobs.serve(**WEBHOOKS) as served:
        # A claim: the job runs soon, and not only when this engine ends.
        proxy.lose_answer_after(b"INSERT INTO penstock_served")
        claimed = submit(served, "sleep", seconds=0.0)
        jobs.wait_final(claimed, timeout=10)
        assert (proxy.cuts, jobs.job(claimed)) == (1, ("succeeded", None, 2))
        # A put: the caller hears of an error, and sends it again, which finds the job.
        proxy.lose_answer_after(b"INSERT INTO penstock_job_bodies")
        assert put(served, "order-1", "square", receiver.url, input=3.0).status == 503
        assert wait_until(lambda: put(served, "order-1", "square", receiver.url, input=3.0), "").status == 200
        jobs.wait_final("order-1")
        # An end: it is written again, which changes nothing, and the job does not run again.
        proxy.lose_answer_after(b"UPDATE penstock_job_bodies SET result")
        ended = submit(served, "square", input=3.0)
        wait_until(lambda: proxy.cuts == 3, "the cut")
        jobs.wait_final(ended)
        assert jobs.notes("run", ended) == [["1"]]
        # A delivery: it is sent by the same sender, with the time that a second look needs.
        proxy.lose_answer_after(b"UPDATE penstock_deliveries")
        put(served, "order-2", "square", receiver.url, input=3.0)
        wait_until(lambda: len(receiver.requests) >= 2, "the webhook")
        wait_until(lambda: undelivered(jobs) == [], "the deliveries")
        assert proxy.cuts == 4
    assert jobs.states() == {"succeeded": 4}


# ---- notifications


def test_a_server_whose_listener_is_cut_takes_jobs_within_a_second(jobs: JobDatabase, server: PostgresServer) -> None:
    """It looks once a second, however often it is cut; left alone it listens again, and is quicker."""
    other = PostgresJobStore(jobs.store)
    with jobs.serve():
        other.start(lambda _: None)
        with cutting(lambda: server.end_connections(jobs.name, LISTENS)) as cuts:
            wait_until(lambda: sum(cuts) >= 2, "the first cuts")
            cut = [seconds_to_start(jobs, other) for _ in range(4)]
        wait_until(lambda: len(server.execute(LISTENERS.format(jobs.name))) == 2, "both to listen again")
        whole = [seconds_to_start(jobs, other) for _ in range(4)]
        other.close()
    print(f"cut {sum(cuts)} times, jobs start after {sorted(cut)} s; with a whole listener after {sorted(whole)} s")
    # Without the look they would wait for the poll of all queues, five seconds.
    assert max(cut) < 2.0
    assert min(whole) < 0.3


LISTENS = "query LIKE 'LISTEN%'"
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND " + LISTENS


@contextlib.contextmanager
def cutting(cut: Callable[[], int]) -> Iterator[list[int]]:
    """Cut connections all the time."""
    ending, numbers = threading.Event(), []

    def run() -> None:
        while not ending.wait(0.02):
            numbers.append(cut())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield numbers
    finally:
        ending.set()
        thread.join()


def seconds_to_start(jobs: JobDatabase, store: PostgresJobStore) -> float:
    """Return the time from a job's submission by another process until it starts."""
    name = f"job-{next(_numbers)}"
    store.put([NewJob(id=name, endpoint="square", request=b'{"input": 2.0}')], now=time.time()).result()
    jobs.wait_final(name)
    [(seconds,)] = jobs.rows(f"SELECT started_at - created_at FROM penstock_jobs WHERE id = '{name}'")
    return round(seconds, 3)
