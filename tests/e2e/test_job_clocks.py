"""Background jobs in real servers whose wall clock leaps by an hour. After each test the rules are checked by SQL."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.job_harness import JobDatabase, JobFile, JobScene, send, submit
from tests.moved_clock import MovedClock, needs_moved_clock
from tests.postgres import PostgresServer, needs_postgres, running_postgres
from tests.serving import Served, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300), needs_moved_clock]

HOUR = 3600
LEASE = 20
A_WHILE = 6.0
"""Each engine has beaten and swept in this time."""


def stay_through_leaps(jobs: JobScene, clock: MovedClock, served: Served) -> None:
    """Check that a running job is not touched by leaps, and that others run at once."""
    held = submit(served, "sleep", seconds=60)
    wait_until(lambda: jobs.notes("run", held), "the start")
    for distance in (HOUR, 0, -HOUR):
        clock.move(distance)
        moved_at = time.monotonic()
        jobs.wait_final(submit(served, "square", input=2.0))
        until = moved_at + A_WHILE
        wait_until(lambda until=until: time.monotonic() > until, "a while")
        assert jobs.job(held) == ("running", None, 1), f"after a leap to {distance}"
    assert jobs.notes("run", held) == [["1"]]
    assert jobs.notes("interrupted") == []
    assert served.events("jobs-lease-lost") == served.events("jobs-freed") == []
    assert send(served, "POST", f"/v1/jobs/{held}/cancel?wait=10").json()["state"] == "cancelled"


def test_a_leap_of_the_clock_of_a_server_leaves_its_jobs_alone(tmp_path: Path) -> None:
    """A server beside it, whose clock is right, takes it for alive. A job that waits for an instant runs at that."""
    clock, jobs = MovedClock(tmp_path, is_seen_at_once=False), JobFile(tmp_path)
    with jobs.serve(LEASE=str(LEASE), **clock.environment) as served, jobs.serve(LEASE=str(LEASE)) as other:
        stay_through_leaps(jobs, clock, served)
        assert other.events("jobs-freed") == []
    with jobs.serve(**clock.environment) as served:
        clock.move(0)
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=30)
        waiting = {"endpoint": "square", "input": {"input": 2.0}, "not_before": later.isoformat()}
        assert send(served, "PUT", "/v1/jobs/later", waiting).json()["state"] == "scheduled"
        clock.move(HOUR)
        jobs.wait_final("later")
    jobs.check()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@needs_postgres
def test_a_leap_of_the_clock_of_the_database_leaves_jobs_alone(postgres: PostgresServer, tmp_path: Path) -> None:
    """Leases are measured on it, so for a while after a leap no engine takes another one, or itself, for dead."""
    clock, jobs = MovedClock(postgres.socket_path.parent), JobDatabase(tmp_path, postgres)
    postgres.stop()
    postgres.start(environment=clock.environment)
    with jobs.serve(LEASE=str(LEASE)) as served, jobs.serve(LEASE=str(LEASE)) as other:
        stay_through_leaps(jobs, clock, served)
        assert other.events("jobs-freed") == other.events("jobs-lease-lost") == []
    jobs.check()
