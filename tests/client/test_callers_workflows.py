"""The parts of docs/how-to/celery-temporal-airflow.md about Temporal and Airflow.

Temporal's activity runs in the environment of its library, without a server. Airflow's functions run without Airflow.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from penstock_client import AsyncClient
from tests.client.callers import Code, Site, new_frames, serving_site
from tests.serving import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving_site(tmp_path_factory.mktemp("callers")) as site:
        yield site


@pytest.fixture(scope="module")
def code(site: Site) -> Iterator[Code]:
    code = Code(site)
    yield code
    code.close()


@pytest.fixture
def frames() -> int:
    return new_frames()


# ---- Temporal


def activity_environment(number: int) -> ActivityEnvironment:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, workflow_run_id=f"run-{number}", activity_id="1")
    return environment


def run_activity(
    site: Site, code: Code, environment: ActivityEnvironment, frames: int, meanwhile: Callable[[], None] = lambda: None
) -> Any:
    """Run the activity of the page as Temporal's worker would; call ``meanwhile`` at its second heartbeat."""
    heartbeats = itertools.count(1)
    environment.on_heartbeat = lambda *_: meanwhile() if next(heartbeats) == 2 else None

    async def main() -> Any:
        async with AsyncClient(site.url) as client:
            code.names["server"] = client
            return await environment.run(code.render_scene, frames)

    return anyio.run(main, backend="asyncio")


def test_an_activity_sends_heartbeats_until_its_job_has_ended(site: Site, code: Code, frames: int) -> None:
    """Without one after each step, Temporal would take the worker for dead."""
    environment = activity_environment(frames)
    found = run_activity(site, code, environment, frames, meanwhile=lambda: site.open(frames))
    assert found == f"{frames} frames"


def test_an_activity_that_is_repeated_finds_its_job(site: Site, code: Code, frames: int) -> None:
    """The activity and its run have the same ids, and the work runs once."""
    site.open(frames)
    found = [run_activity(site, code, activity_environment(frames), frames) for _ in range(2)]
    assert found == [f"{frames} frames"] * 2
    assert site.runs(frames) == 1


def test_an_activity_that_is_cancelled_cancels_its_job(site: Site, code: Code, frames: int) -> None:
    """The work stops, and Temporal hears of a cancellation."""
    environment = activity_environment(frames)
    with pytest.raises(asyncio.CancelledError):
        run_activity(site, code, environment, frames, meanwhile=environment.cancel)
    site.wait_state(f"run-{frames}:1", "cancelled")


def test_an_activity_whose_worker_stops_leaves_its_job_running(site: Site, code: Code, frames: int) -> None:
    """The next worker goes on with it."""
    environment, reason = activity_environment(frames), ActivityCancellationDetails(worker_shutdown=True)
    with pytest.raises(asyncio.CancelledError):
        run_activity(site, code, environment, frames, meanwhile=lambda: environment.cancel(reason))
    assert not site.job(f"run-{frames}:1").cancel_requested
    site.open(frames)
    assert run_activity(site, code, activity_environment(frames), frames) == f"{frames} frames"
    assert site.runs(frames) == 1


def test_an_activity_whose_job_fails_is_not_repeated(site: Site, code: Code) -> None:
    """A retry would find the same job, so the error forbids one."""
    with pytest.raises(ApplicationError, match="is failed") as caught:
        run_activity(site, code, activity_environment(0), -1)
    assert caught.value.non_retryable


# ---- Airflow


def task_instance(number: int) -> SimpleNamespace:
    return SimpleNamespace(dag_id="films", run_id=f"manual__2027-05-04T03:00:00+00:00/{number}")


def test_a_sensor_is_called_until_the_job_has_ended(site: Site, code: Code, frames: int) -> None:
    """Each call finds the same job, and a later task has the result."""
    ti = task_instance(frames)
    assert code.render_has_ended(frames, ti) is False
    site.open(frames)
    wait_until(lambda: code.render_has_ended(frames, ti), "the end", timeout=20)
    assert code.result_of_render(ti) == f"{frames} frames"
    assert site.runs(frames) == 1


def test_a_sensor_that_has_failed_for_good_cancels_the_job(site: Site, code: Code, frames: int) -> None:
    """By its callback, which also accepts a task that failed before it had a job."""
    ti = task_instance(frames)
    code.cancel_render({"ti": ti})
    assert code.render_has_ended(frames, ti) is False
    code.cancel_render({"ti": ti})
    site.wait_state(code.job_id_of(ti), "cancelled")
