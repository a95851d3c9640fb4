"""Stored background jobs of two servers that share nothing but a database of PostgreSQL."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.job_store import FINAL, NewJob, StoredJob
from penstock_jobs import PostgresJobStore
from tests.postgres import PostgresServer, needs_postgres, running_postgres
from tests.serving import Served, wait_until, write_app

pytestmark = [pytest.mark.e2e, needs_postgres]

APP = """
    import os

    import trio

    from penstock import App, Context, Jobs, Timeouts

    app = App(__name__)


    @app.endpoint("/wait", concurrency=3, timeouts=Timeouts(grace=0.3), jobs=Jobs(concurrency=2, lease=LEASE))
    async def wait(seconds: float, context: Context) -> int:
        await trio.sleep(seconds)
        return context.claim
"""
_numbers = itertools.count(1)


class Jobs:
    """A database of background jobs, from outside."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.store = PostgresJobStore(url)
        self.store.start(lambda _: None)

    def serve(self, *, lease: float = 2.0) -> Served:
        app = write_app(self.folder, APP.replace("LEASE", str(lease)), f"app_{next(_numbers)}.py")
        return Served(app, "--log-format", "json", environment={"PENSTOCK_JOBS_STORE": self.url})

    def put(self, seconds: float) -> str:
        name = f"job-{next(_numbers)}"
        job = NewJob(id=name, is_named=True, endpoint="wait", request=json.dumps({"seconds": seconds}).encode())
        self.store.put([job], now=time.time()).result()
        return name

    def job(self, name: str) -> StoredJob:
        return self.store.get(name).result()

    def wait_started(self, *names: str) -> None:
        wait_until(lambda: all(self.job(name).started_at for name in names), f"the start of {names}")

    def wait_final(self, *names: str) -> list[StoredJob]:
        wait_until(lambda: all(self.job(name).state in FINAL for name in names), f"the end of {names}", timeout=30)
        return [self.job(name) for name in names]

    def result(self, name: str) -> Any:
        found = self.store.result(name).result()
        return None if found is None else json.loads(found.body)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def jobs(server: PostgresServer, tmp_path: Path) -> Iterator[Jobs]:
    database = server.new_database()
    found = Jobs(tmp_path, server.url(database))
    yield found
    found.store.close()
    server.drop(database)


def test_two_servers_share_the_jobs(jobs: Jobs) -> None:
    """Each runs as many as it may; a cancel by a third process stops the right one."""
    with jobs.serve(), jobs.serve():
        held = [jobs.put(30) for _ in range(4)]
        jobs.wait_started(*held)
        assert len({jobs.job(name).owner for name in held}) == 2
        for name in held:
            jobs.store.cancel(name, now=time.time()).result()
        assert {job.state for job in jobs.wait_final(*held)} == {"cancelled"}
        quick = [jobs.put(0) for _ in range(50)]
        rows = jobs.wait_final(*quick)
        assert {(job.state, job.claim) for job in rows} == {("succeeded", 1)}


def test_jobs_of_a_killed_server_move_after_its_lease(jobs: Jobs) -> None:
    """There is no lock file between hosts, so the lease decides."""
    with jobs.serve() as one, jobs.serve():
        held = [jobs.put(4) for _ in range(4)]
        jobs.wait_started(*held)
        os.killpg(one.process.pid, signal.SIGKILL)
        one.wait()
        rows = jobs.wait_final(*held)
        assert sorted((job.state, job.claim) for job in rows) == [("succeeded", n) for n in (1, 1, 2, 2)]


def test_an_outage_within_the_lease_loses_nothing(jobs: Jobs, server: PostgresServer) -> None:
    """A job that ends meanwhile is recorded when the database is back, by its first claim; and new ones run."""
    with jobs.serve(lease=20) as served:
        name = jobs.put(1)
        jobs.wait_started(name)
        server.stop()
        time.sleep(2)  # the job ends in this time
        assert served.post_json("/wait", {"seconds": 0}).status == 200
        server.start()
        wait_until(lambda: not jobs.store.get(name).exception(), "the database", timeout=30)
        [job] = jobs.wait_final(name)
        assert (job.state, job.claim, jobs.result(name)) == ("succeeded", 1, 1)
        assert jobs.wait_final(jobs.put(0))[0].state == "succeeded"
