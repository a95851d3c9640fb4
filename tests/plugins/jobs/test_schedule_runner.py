"""Engines that run the same schedules over one store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from penstock.errors import PluginError
from penstock.hooks import Schedule
from penstock.job_store import JobQuery, JobStore, NewJob, StoreLimits, StoreUnavailable
from penstock.testing import MemoryDatabase, MemoryJobStore
from penstock_jobs.schedule_runner import ScheduleRunner, scheduled_job
from tests.serving import wait_until

NIGHTLY = Schedule("nightly", "0 3 * * *", "report", b'{"kind": "full"}', "Europe/Berlin")
HOUR = 3600.0


def instant(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class Scene:
    """A database, a clock, and the runners of several engines."""

    def __init__(self, now: str) -> None:
        self.now = instant(now)
        self.database = MemoryDatabase()
        self.fails: set[str] = set()

    def store(self, limits: StoreLimits | None = None) -> MemoryJobStore:
        store = MemoryJobStore(self.database, limits=limits, before_statement=self._before)
        store.start(lambda _: None)
        return store

    def runner(self, *schedules: Schedule, **options: Callable[[NewJob, Schedule], NewJob]) -> ScheduleRunner:
        return ScheduleRunner(self.store(), schedules or (NIGHTLY,), clock=lambda: self.now, **options)

    def jobs(self, store: JobStore | None = None) -> list[str]:
        page = (store or self.store()).list_jobs(JobQuery(limit=1000)).result()
        return sorted(job.id for job in page.jobs)

    def _before(self, statement: str) -> None:
        if statement in self.fails:
            raise StoreUnavailable("out of order")


def test_of_several_engines_one_stores_the_job() -> None:
    """There is no leader: the id is the same for all of them, and the first one wins."""
    scene = Scene("2027-05-04T00:59")
    runners = [scene.runner() for _ in range(3)]
    for _ in range(4 * 24 * 4):
        for runner in runners:
            runner.step()
        scene.now += HOUR / 4
    assert scene.jobs() == [f"schedule:nightly:2027-05-0{day}T01:00:00Z" for day in (4, 5, 6, 7)]


def test_the_job_has_the_input_of_the_schedule() -> None:
    """And a group, by which the jobs of a schedule are listed."""
    scene = Scene("2027-05-04T00:59")
    runner = scene.runner()
    runner.step()
    scene.now += 120
    runner.step()
    store = scene.store()
    [job] = store.list_jobs(JobQuery(group="schedule:nightly")).result().jobs
    assert (job.endpoint, job.created_at) == ("report", scene.now)
    request = store.request(job.id).result()
    assert request.body == b'{"kind": "full"}'
    assert request.metadata == {"schedule": "nightly", "nominal_time": "2027-05-04T01:00:00Z"}


def test_after_a_stop_the_last_missed_time_has_its_job() -> None:
    """The store knows the last one; a job that a caller has put into the group does not count."""
    scene = Scene("2027-05-04T00:59")
    runner = scene.runner()
    runner.step()
    scene.now += 120
    runner.step()
    scene.store().put(
        [NewJob(id="2027-05-07T01:00:00Z", endpoint="report", group="schedule:nightly")], now=scene.now
    ).result()
    scene.now += 3.5 * 24 * HOUR
    for _ in range(3):
        scene.runner().step()
    assert scene.jobs() == [
        "2027-05-07T01:00:00Z",
        "schedule:nightly:2027-05-04T01:00:00Z",
        "schedule:nightly:2027-05-07T01:00:00Z",
    ]


def test_a_new_schedule_waits_for_its_next_time() -> None:
    """Its time of last night was not missed."""
    scene = Scene("2027-05-04T12:00")
    scene.runner().step()
    assert scene.jobs() == []


def test_the_record_outlives_the_time_to_the_next_job() -> None:
    """Otherwise a server that starts after it would take a yearly schedule for a new one."""
    job = scheduled_job(Schedule("yearly", "0 0 1 1 *", "e", b"", "UTC"), instant("2027-01-01"))
    assert job.record_ttl > 365 * 24 * HOUR


@pytest.mark.parametrize("statement", ["list_jobs", "advance_schedule", "commit"])
def test_a_store_that_does_not_answer_is_asked_again(statement: str) -> None:
    """The job is late, and not lost, even if the store did not answer at the start."""
    scene = Scene("2027-05-04T00:59")
    runner = scene.runner()
    scene.fails = {statement}
    runner.step()
    scene.now += 120
    runner.step()
    scene.fails = set()
    runner.step()
    runner.step()
    assert scene.jobs() == ["schedule:nightly:2027-05-04T01:00:00Z"]


def test_a_full_queue_of_one_endpoint_delays_no_other_schedule() -> None:
    """Its own job waits until there is room."""
    scene = Scene("2027-05-04T00:59")
    other = Schedule("other", "0 3 * * *", "small", b"", "Europe/Berlin")
    limits = {"small": 0, "report": 10}

    def complete(job: NewJob, schedule: Schedule) -> NewJob:
        return NewJob(id=job.id, is_named=True, endpoint=job.endpoint, max_queued=limits[schedule.endpoint])

    runner = scene.runner(other, NIGHTLY, complete=complete)
    runner.step()
    scene.now += 120
    runner.step()
    assert scene.jobs() == ["schedule:nightly:2027-05-04T01:00:00Z"]
    limits["small"] = 10
    runner.step()
    assert scene.jobs() == ["schedule:nightly:2027-05-04T01:00:00Z", "schedule:other:2027-05-04T01:00:00Z"]


def test_a_clock_that_jumps_stores_no_job_twice() -> None:
    """In one engine or in several, an hour ahead and back."""
    scene = Scene("2027-05-04T00:30")
    runners = [scene.runner() for _ in range(2)]
    for step in (0, 1.0, -1.0, 0.25, 0.25, 0.25, 0.25, 0.25, 24.0, -25.0, 24.0, 1.0):
        scene.now += step * HOUR
        for runner in runners:
            runner.step()
    assert scene.jobs() == [f"schedule:nightly:2027-05-0{day}T01:00:00Z" for day in (4, 5)]


def test_a_clock_that_was_wrong_at_the_start_does_not_silence_a_schedule() -> None:
    """The server started a day ahead of the time; once its clock is right, the next time has its job."""
    scene = Scene("2027-05-05T12:00")
    runner = scene.runner()
    runner.step()
    scene.now = instant("2027-05-04T00:30")
    runner.step()
    assert scene.jobs() == []
    scene.now += HOUR
    runner.step()
    assert scene.jobs() == ["schedule:nightly:2027-05-04T01:00:00Z"]


def test_the_thread_stores_jobs_until_it_is_stopped() -> None:
    """It looks at the clock once a second."""
    scene = Scene("2027-05-04T00:59:59")
    runner = scene.runner()
    runner.start()
    wait_until(lambda: runner._plan, "the plan")
    scene.now += 2
    wait_until(scene.jobs, "the job")
    runner.drain(0.0)
    runner.stop()
    assert not runner._thread.is_alive()
    assert repr(runner) == "<ScheduleRunner: nightly>"


def test_an_expression_that_is_not_valid_stops_the_start() -> None:
    """With the name of the schedule."""
    with pytest.raises(PluginError, match="nightly"):
        Scene("2027-05-04").runner(Schedule("nightly", "0 25 * * *", "report", b"", "UTC"))
