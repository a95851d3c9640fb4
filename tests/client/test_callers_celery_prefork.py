"""Celery as in docs/how-to/celery-temporal-airflow.md, in the pool ``prefork``.

The worker is a process of its own. The broker and the results are files, which processes share without a server.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from celery.result import AsyncResult

from tests.client.callers import Site, new_frames, page_source, serving_site, value_of
from tests.serving import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]

SETTINGS = """
from pathlib import Path

FOLDER = Path(__file__).parent
for name in ("broker", "control", "results"):
    (FOLDER / name).mkdir(exist_ok=True)
celery.conf.update(
    broker_transport_options={
        "polling_interval": 0.02,
        "data_folder_in": str(FOLDER / "broker"),
        "data_folder_out": str(FOLDER / "broker"),
        "control_folder": str(FOLDER / "control"),
    },
    result_backend=f"file://{FOLDER / 'results'}",
    task_track_started=True,
)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving_site(tmp_path_factory.mktemp("callers")) as site:
        yield site


@pytest.fixture(scope="module")
def films(site: Site, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Return the code of the page as a module; a step is so long that nothing here can wait for its end."""
    path = tmp_path_factory.mktemp("films") / "films.py"
    path.write_text(page_source(site, broker="filesystem://", backend="file:///", step=60.0) + SETTINGS)
    spec = importlib.util.spec_from_file_location("films", path)
    assert spec is not None
    assert spec.loader is not None
    films = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(films)
    return films


@pytest.fixture(scope="module", autouse=True)
def worker(films: ModuleType) -> Iterator[None]:
    folder = Path(films.__file__ or "").parent
    command = [sys.executable, "-m", "celery", "-A", "films", "worker", "--pool", "prefork", "--concurrency", "2"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGQUIT)  # a cold shutdown
        process.wait(30)
        print((folder / "log").read_text())


def wait_begun(site: Site, result: AsyncResult) -> int:
    """Wait until the work runs, and return the process that waits for it."""
    site.wait_state(result.id, "running")
    wait_until(lambda: result.state == "STARTED", "the start of the task")
    return result.info["pid"]


def test_a_task_that_is_terminated_cancels_its_job_at_once(site: Site, films: ModuleType) -> None:
    """And not only when its step has ended."""
    result = films.render_film.delay(new_frames())
    wait_begun(site, result)
    result.revoke(terminate=True)
    site.wait_state(result.id, "cancelled")


def test_a_task_whose_process_is_killed_finds_its_job(site: Site, films: ModuleType) -> None:
    """Its message goes back into the queue, and another process returns the result of the one run."""
    frames = new_frames()
    result = films.render_film.delay(frames)
    os.kill(wait_begun(site, result), signal.SIGKILL)
    site.open(frames)
    assert value_of(result) == f"{frames} frames"
    assert site.runs(frames) == 1
