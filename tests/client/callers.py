"""The code of docs/how-to/celery-temporal-airflow.md, and a real server for it to call."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery import signals
from celery.contrib.testing.worker import start_worker
from celery.result import AsyncResult

from penstock_client import Client, Job, errors
from tests.serving import ROOT, Served, wait_until, write_app
from tests.test_docs_blocks import blocks_of

PAGE = ROOT / "docs" / "how-to" / "celery-temporal-airflow.md"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# The app of the page, with work that lasts until a test opens the gate of its job. Work of no frames does not wait.
APP = """
    import os
    from pathlib import Path

    import trio

    from penstock import App, Jobs

    app = App(__name__)
    FOLDER = Path(os.environ["FOLDER"])


    @app.endpoint("/render", jobs=Jobs(), concurrency=8)
    async def render(frames: int) -> str:
        with (FOLDER / "ledger").open("a") as ledger:
            print(frames, file=ledger)
        if frames < 0:
            raise ValueError("frames")
        while frames and not (FOLDER / f"open-{frames}").exists():
            await trio.sleep(0.01)
        return f"{frames} frames"
"""
_numbers = itertools.count(1)


@signals.setup_logging.connect
def _leave_logging_alone(**_: Any) -> None:
    """Keep Celery from setting the level of the root logger, which later tests of this process need as it was."""


class Site:
    """A real server, and a client with which to look at its jobs."""

    def __init__(self, served: Served, folder: Path) -> None:
        self.url = served.base_url
        self.folder = folder
        self.client = Client(served.base_url)

    def job(self, job_id: str) -> Job:
        return self.client.jobs.get(job_id)

    def wait_state(self, job_id: str, state: str) -> None:
        def is_so() -> bool:
            try:
                return self.job(job_id).state == state
            except errors.JobNotFound:
                return False

        wait_until(is_so, f"{job_id} {state}", timeout=20)

    def open(self, frames: int) -> None:
        (self.folder / f"open-{frames}").touch()

    def runs(self, frames: int) -> int:
        lines = (self.folder / "ledger").read_text().splitlines()
        return lines.count(str(frames))


def page_source(site: Site, *, broker: str, backend: str, step: float) -> str:
    """Return the code of the page for this server, with shorter steps."""
    source = "\n\n".join(blocks_of(PAGE)[1:])
    for there, here in (
        ("http://127.0.0.1:8000", site.url),
        ("amqp://localhost", broker),
        ("redis://localhost", backend),
        ("STEP = 5.0", f"STEP = {step}"),
        ("default_retry_delay=10", "default_retry_delay=0.1"),
    ):
        assert there in source
        source = source.replace(there, here)
    return source


class Code:
    """The code of the page, with Celery's broker in memory, and a queue of its own."""

    def __init__(self, site: Site) -> None:
        number = next(_numbers)
        # Celery names tasks after their module, and knows the tasks of all apps of the process.
        self.names: dict[str, Any] = {"__name__": f"films_{number}"}
        source = page_source(site, broker="memory://", backend="cache+memory://", step=0.3)
        exec(compile(source, str(PAGE), "exec"), self.names)
        self.names["celery"].conf.update(
            broker_transport_options={"polling_interval": 0.02},
            task_default_queue=f"queue-{number}",
        )

    def __getattr__(self, name: str) -> Any:
        return self.names[name]

    @contextlib.contextmanager
    def worker(self, pool: str = "threads") -> Iterator[None]:
        with start_worker(self.celery, pool=pool, concurrency=2, perform_ping_check=False, shutdown_timeout=20):
            yield

    def close(self) -> None:
        self.penstock.close()
        self.celery.close()


def wait_retried(result: AsyncResult) -> None:
    wait_until(lambda: result.state == "RETRY", "a step", timeout=20)


def value_of(result: AsyncResult) -> Any:
    return result.get(timeout=20, interval=0.02)


@contextlib.contextmanager
def serving_site(folder: Path) -> Iterator[Site]:
    environment = {
        "FOLDER": str(folder),
        "PENSTOCK_JOBS_STORE": f"sqlite:///{folder / 'jobs.db'}",
        "PENSTOCK_JOBS_WEBHOOK_SECRET": SECRET,
        "PENSTOCK_JOBS_WEBHOOK_HOSTS": "127.0.0.1",
    }
    with Served(write_app(folder, APP), environment=environment) as served:
        site = Site(served, folder)
        yield site
        site.client.close()


def new_frames() -> int:
    """Return a number that no other test uses: the gate and the runs of a test's work go by it."""
    return next(_numbers)
