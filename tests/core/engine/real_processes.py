"""Real worker processes under a real loop, without an engine: what they report is collected."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from penstock.engine.processes.worker_link import WorkerLink
from penstock.engine.processes.worker_processes import WorkerProcesses
from penstock.engine.reactors.asyncio_reactor import AsyncioReactor
from penstock.wire import Message, Ready

APP = """
from penstock import App

app = App(__name__)


@app.endpoint("/square")
def square(x: float) -> float:
    return x * x
"""


class Reports:
    """The owner of the processes: it keeps what they report."""

    def __init__(self) -> None:
        self.ready: dict[int, int] = {}  # worker: pid
        self.exits: dict[int, str] = {}
        self.failures: dict[int, str] = {}
        self.suspended: dict[int, str] = {}
        self.load_failure = ""

    def on_messages(self, link: WorkerLink, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, Ready):
                self.ready[link.worker] = message.pid

    def on_broken(self, link: WorkerLink, why: str) -> None: ...

    def on_deaths(self, workers: list[int]) -> None: ...

    def on_exit(self, link: WorkerLink, reason: str, *, blames_jobs: bool = True) -> None:
        self.exits[link.worker] = reason

    def on_start_failure(self, worker: int, reason: str) -> None:
        self.failures[worker] = reason

    def on_suspended(self, link: WorkerLink, reason: str) -> None:
        self.suspended[link.worker] = reason

    def on_load_failure(self, error: str) -> None:
        self.load_failure = error


@contextlib.asynccontextmanager
async def running(
    folder: Path, workers: int = 1, source: str = APP, **options: float
) -> AsyncIterator[tuple[WorkerProcesses, Reports]]:
    """Run the processes of an app with workers 1, 2 ..., which are ready when the block begins."""
    file = folder / "app_under_test.py"
    file.write_text(source)
    reports = Reports()
    processes = WorkerProcesses(AsyncioReactor(), str(file), reports, **options)
    try:
        processes.start()
        for worker in range(1, workers + 1):
            processes.spawn(worker, "default", worker - 1, None)
        await until(lambda: len(reports.ready) == workers)
        yield processes, reports
    finally:
        processes.close()


def zygote_pid(processes: WorkerProcesses) -> int:
    """Return the number of the zygote that forks now."""
    return processes._zygotes._current.pid


async def until(condition: Callable[[], object], patience: float = 20.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


@contextlib.contextmanager
def no_descriptor_left(*, but: int = 0) -> Iterator[None]:
    """Use up every descriptor of this process, but for some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors()[-1] + 20, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(2))
        for _ in range(but):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def open_descriptors() -> list[int]:
    """Return the numbers of all open descriptors, in order."""
    return sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
