"""Schedules in real servers that share a file: one job for each time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.hooks import Schedule
from penstock.job_store import JobQuery
from penstock_jobs.schedule_runner import scheduled_job
from penstock_jobs.schedule_times import ScheduleTimes, nominal_of, nominal_text
from tests.e2e.test_jobs import Jobs
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

# A server looks at its schedules in their order. So the job of the last one, which no other server has, shows that it
# has looked at the first one, which they share.
APP = """
    import os

    from penstock import App, Context, Jobs

    app = App(__name__)


    @app.endpoint("/report", jobs=Jobs())
    def report(context: Context) -> None:
        with open(os.environ["LEDGER"], "a") as file:
            print(context.job_id, context.claim, file=file)


    app.schedule(os.environ["CRON"], report, name="shared")
    app.schedule(os.environ["CRON"], report, name=os.environ["OWN"])
"""
NAMES = ("shared", "one", "other")
YEARLY = "0 0 1 1 *"
EARLIER = "2021-01-01T00:00:00Z"


def yearly(name: str) -> Schedule:
    return Schedule(name, YEARLY, "report", b"", "UTC")


def stored_by(servers: tuple[Served, Served]) -> list[str]:
    """Return the jobs that the servers have stored, by their logs."""
    return sorted(event["job"] for served in servers for event in served.events("scheduled"))


def instant(text: str) -> float:
    found = nominal_of(text)
    assert found is not None
    return found


class Schedules(Jobs):
    """A file, and two servers on it with the same schedules."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.app = write_app(folder, APP)

    @contextlib.contextmanager
    def two_servers(self, cron: str) -> Iterator[tuple[Served, Served]]:
        """Start two servers at the same time."""
        one, other = self._server(cron, "one"), self._server(cron, "other")
        with one, other:
            one.wait_ready()
            other.wait_ready()
            yield one, other

    def _server(self, cron: str, own: str) -> Served:
        served = self.serve()
        served.environment |= {"CRON": cron, "OWN": own}
        served.ready_timeout = None
        return served

    def nominals(self, name: str) -> list[str]:
        """Return the times that have a job, in their order."""
        group = f"schedule:{name}"
        page = self.store.list_jobs(JobQuery(group=group, limit=1000)).result()
        return sorted(job.id.removeprefix(f"{group}:") for job in page.jobs)

    def note_run(self, schedule: Schedule, nominal: float) -> None:
        """Store the job that a server had for an earlier time, and end it."""
        job, now = scheduled_job(schedule, nominal), time.time()
        self.store.put_scheduled(schedule.name, nominal, job, now=now).result()
        self.store.cancel(job.id, now=now).result()


@pytest.fixture
def schedules(tmp_path: Path) -> Iterator[Schedules]:
    found = Schedules(tmp_path)
    yield found
    found.close()


def test_of_the_times_that_were_missed_the_last_one_runs_once(schedules: Schedules) -> None:
    """Two servers start after a stop of years, and both see what was missed: one stores the job, and it runs once."""
    latest = nominal_text(ScheduleTimes(yearly("any")).latest(time.time()))
    for name in NAMES:
        schedules.note_run(yearly(name), instant(EARLIER))
    with schedules.two_servers(YEARLY) as servers:
        jobs = [f"schedule:{name}:{latest}" for name in NAMES]
        wait_until(lambda: all(latest in schedules.nominals(name) for name in NAMES), "the jobs of both servers")
        assert {job.state for job in schedules.wait_final(*jobs)} == {"succeeded"}
        wait_until(lambda: stored_by(servers) == sorted(jobs), "one server for each job")
        assert {server.get(f"/v1/jobs/{job}/result").status for server in servers for job in jobs} == {200}
    assert [schedules.nominals(name) for name in NAMES] == [[EARLIER, latest]] * 3
    assert [schedules.runs(job) for job in jobs] == [[1]] * 3


@pytest.mark.thorough
def test_each_minute_has_one_run(schedules: Schedules) -> None:
    """Both servers are there when the time comes."""
    with schedules.two_servers("* * * * *") as servers:
        common = wait_until(
            lambda: set(schedules.nominals("one")) & set(schedules.nominals("other")), "a minute of both", timeout=70
        )
        shared = schedules.nominals("shared")
        assert common <= set(shared)
        jobs = [f"schedule:shared:{nominal}" for nominal in shared]
        rows = schedules.wait_final(*jobs)
        wait_until(lambda: [job for job in stored_by(servers) if job in jobs] == jobs, "one server for each job")
    assert [schedules.runs(job) for job in jobs] == [[1]] * len(jobs)
    for row, nominal in zip(rows, shared, strict=True):
        assert 0 <= row.created_at - instant(nominal) < 60
