"""Starts that fail and processes that hang: each is an event, and none is an exception in a callback of the loop."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from penstock.app import App
from penstock.engine.processes import suspension_watch, worker_processes, zygote_link
from penstock.engine.processes.descriptor_reserve import DescriptorReserve
from penstock.engine.processes.worker_link import WorkerLink
from penstock.engine.processes.zygote_link import ZygoteLink
from penstock.engine.reactors.asyncio_reactor import AsyncioReactor
from penstock.socket_buffers import ReceiveBuffer
from penstock.wire import Load
from tests.core.engine.fake_processes import engine_of, ready
from tests.core.engine.real_processes import (
    APP,
    Reports,
    no_descriptor_left,
    open_descriptors,
    running,
    until,
    zygote_pid,
)
from tests.core.worker.zygote_client import is_gone

square_app = App(__name__)


@square_app.endpoint("/square")
def square(x: float) -> float:
    return x * x


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for a process that hangs."""
    monkeypatch.setattr(zygote_link, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(worker_processes, "REASON_SECONDS", 0.2)
    monkeypatch.setattr(suspension_watch, "SUSPENDED_SECONDS", 0.2)


@pytest.fixture(autouse=True)
def _no_exception_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """Fail if a callback of the loop has raised."""
    yield
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def run(scenario) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


# ---- descriptors


def test_a_worker_comes_back_when_connections_hold_every_descriptor(tmp_path: Path) -> None:
    """A few descriptors are kept for the processes: neither a dead worker nor a dead zygote waits for clients to go."""

    async def scenario() -> None:
        async with running(tmp_path, workers=2) as (processes, reports):
            with no_descriptor_left():
                os.kill(reports.ready[1], signal.SIGKILL)
                await until(lambda: 1 in reports.exits)
                processes.spawn(3, "default", 0, None)
                await until(lambda: 3 in reports.ready)
                os.kill(zygote_pid(processes), signal.SIGKILL)
                await until(lambda: {2, 3} <= reports.exits.keys())
                processes.spawn(4, "default", 0, None)
                processes.spawn(5, "default", 1, None)
                await until(lambda: {4, 5} <= reports.ready.keys())
            assert reports.failures == {}

    run(scenario)


def test_a_start_without_descriptors_is_an_event(tmp_path: Path) -> None:
    """Where even the reserve is of no use, a worker's start fails with the reason, and the next one succeeds."""

    async def scenario() -> None:
        async with running(tmp_path) as (processes, reports):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # less than what is open
            try:
                processes.spawn(2, "default", 1, None)
                os.kill(zygote_pid(processes), signal.SIGKILL)
                await until(lambda: 1 in reports.exits)
                processes.spawn(3, "default", 0, None)
                await until(lambda: {2, 3} <= reports.failures.keys())
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert reports.failures == dict.fromkeys((2, 3), "Too many open files")
            processes.spawn(4, "default", 0, None)
            await until(lambda: 4 in reports.ready)

    run(scenario)


@pytest.mark.parametrize("kind", ["worker", "zygote"])
def test_a_start_that_fails_leaves_nothing_open(kind: str) -> None:
    """At whichever step a start runs out of descriptors, it closes the ones that it had opened."""

    async def scenario() -> None:
        before, errors = open_descriptors(), set()
        for spare in range(20):
            with no_descriptor_left(but=spare):
                try:
                    link = start_alone(kind)
                    break
                except OSError as failure:
                    errors.add(failure.errno)
            assert open_descriptors() == before
        assert spare >= 6
        assert errors == {errno.EMFILE}
        link.close()
        assert open_descriptors() == before

    run(scenario)


def start_alone(kind: str) -> WorkerLink | ZygoteLink:
    """Start one process, or only its link."""
    if kind == "zygote":
        return ZygoteLink(AsyncioReactor(), Load("no_such_module", [], []), None, Reports())
    return WorkerLink(AsyncioReactor(), ReceiveBuffer(), 1, "default/0", print, print, on_end=print)


def test_the_shortage_of_descriptors_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The operator reads once that the limit is reached, and again only after it was not."""
    reserve = DescriptorReserve()
    for _ in range(2):
        with no_descriptor_left(but=3):
            reserve.hold(5)
            with reserve.lent():
                pass
            reserve.hold(6)
        reserve.hold(5)
        reserve.close()
    lines = [record.msg for record in caplog.records]
    assert [line.partition(";")[0] for line in lines] == [
        "only 3 of 5 file descriptors could be reserved for workers that will have to be started: Too many open files"
    ] * 2


def test_a_refused_fork_is_an_event(tmp_path: Path) -> None:
    """Where the kernel refuses a fork, the zygote says why, goes on, and forks again when it may."""
    source = (
        APP
        + """
import errno, os, sys
fork, refusals = os.fork, [OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), OSError(errno.ENOMEM, "no memory")]
def fork_or_fail():
    if refusals and "hazards" not in sys._getframe(1).f_globals["__name__"]:  # a worker is forked, not a probe
        raise refusals.pop(0)
    return fork()
os.fork = fork_or_fail
"""
    )

    async def scenario() -> None:
        async with running(tmp_path, workers=0, source=source) as (processes, reports):
            for worker in (1, 2, 3):
                processes.spawn(worker, "default", 0, None)
            await until(lambda: 3 in reports.ready)
            assert reports.exits == {
                1: "Resource temporarily unavailable",
                2: "no memory",
            }

    run(scenario)


def test_a_zygote_without_descriptors_says_so(tmp_path: Path) -> None:
    """The kernel then drops those that come with the order: that start fails, and the next one succeeds."""

    async def scenario() -> None:
        async with running(tmp_path) as (processes, reports):
            zygote = zygote_pid(processes)
            limits = resource.prlimit(zygote, resource.RLIMIT_NOFILE)
            resource.prlimit(zygote, resource.RLIMIT_NOFILE, (3, limits[1]))
            processes.spawn(2, "default", 1, None)
            await until(lambda: 2 in reports.exits)
            assert reports.exits[2] == "Too many open files"
            resource.prlimit(zygote, resource.RLIMIT_NOFILE, limits)
            processes.spawn(3, "default", 1, None)
            await until(lambda: 3 in reports.ready)
            assert zygote_pid(processes) == zygote

    run(scenario)


# ---- processes that hang


def test_a_worker_that_ends_is_seen_while_its_zygote_is_stopped(tmp_path: Path) -> None:
    """The engine watches each process itself; only the reason is unknown if the zygote does not say it."""

    async def scenario() -> None:
        async with running(tmp_path) as (processes, reports):
            os.kill(zygote_pid(processes), signal.SIGSTOP)
            os.kill(reports.ready[1], signal.SIGKILL)
            await until(lambda: 1 in reports.exits)
            assert reports.exits[1].startswith("unknown, because")

    run(scenario)


def test_the_reason_of_an_exit_is_known_while_the_zygote_answers(tmp_path: Path) -> None:
    """That the engine sees an exit first hides neither the signal nor the exit code."""

    async def scenario() -> None:
        async with running(tmp_path) as (_, reports):
            os.kill(reports.ready[1], signal.SIGSEGV)
            await until(lambda: 1 in reports.exits)
            assert reports.exits[1] == "signal SIGSEGV"

    run(scenario)


def test_a_zygote_that_does_not_answer_is_replaced_and_its_workers_live_on(tmp_path: Path) -> None:
    """A fork has a time limit. The zygote that exceeds it stays until its last worker is gone, and forks no more."""

    async def scenario() -> None:
        async with running(tmp_path, workers=2) as (processes, reports):
            hung = zygote_pid(processes)
            os.kill(hung, signal.SIGSTOP)
            os.kill(reports.ready[1], signal.SIGKILL)
            await until(lambda: 1 in reports.exits)
            processes.spawn(3, "default", 0, None)
            await until(lambda: 3 in reports.exits)
            assert reports.exits[3] == "the process that forks the workers did not answer within 0.3 s"
            processes.spawn(4, "default", 0, None)
            await until(lambda: 4 in reports.ready)
            assert 2 not in reports.exits
            os.kill(hung, signal.SIGCONT)  # it now starts worker 3, which no caller waits for
            os.kill(reports.ready[2], signal.SIGTERM)  # ignored: it lives
            processes.kill(2)
            await until(lambda: 2 in reports.exits)
            await until(lambda: not Path(f"/proc/{hung}").exists())
            assert 4 not in reports.exits
            assert 3 not in reports.ready

    run(scenario)


def test_an_import_has_a_time_limit(tmp_path: Path) -> None:
    """A zygote that hangs in the import is killed, which is a failed start of each worker that waits for it."""

    async def scenario() -> None:
        source = "import time\ntime.sleep(60)\n"
        async with running(tmp_path, workers=0, source=source, load_seconds=0.1) as (processes, reports):
            processes.spawn(1, "default", 0, None)
            await until(lambda: 1 in reports.exits)
            assert reports.exits[1] == "the import of the app did not end within 0.1 s"
            assert reports.load_failure == ""

    run(scenario)


def test_a_zygote_that_dies_in_the_import_is_a_failed_start(tmp_path: Path) -> None:
    """Each worker that waits for it fails with it; the next start begins with another zygote, however often."""

    async def scenario() -> None:
        async with running(tmp_path, workers=0) as (processes, reports):
            for worker in range(1, 5):
                processes.spawn(worker, "default", 0, None)
                os.kill(zygote_pid(processes), signal.SIGKILL)
                await until(lambda worker=worker: worker in reports.exits)
                assert reports.exits[worker] == "the process that imports the app died"
            processes.spawn(5, "default", 0, None)
            await until(lambda: 5 in reports.ready)

    run(scenario)


def test_a_worker_that_is_stopped_is_reported(tmp_path: Path) -> None:
    """An idle worker that is stopped has no deadline to miss; one that is continued in time is left alone."""

    async def scenario() -> None:
        async with running(tmp_path, workers=2) as (_, reports):
            for worker in (1, 2):
                os.kill(reports.ready[worker], signal.SIGSTOP)
            os.kill(reports.ready[2], signal.SIGCONT)
            await until(lambda: 1 in reports.suspended)
            assert "SIGSTOP" in reports.suspended[1]
            assert reports.suspended.keys() == {1}

    run(scenario)


def test_closing_ends_processes_that_are_stopped(tmp_path: Path) -> None:
    """Neither a stopped zygote nor a stopped worker delays the end."""
    pids = []

    async def scenario() -> None:
        async with running(tmp_path) as (processes, reports):
            pids.extend([zygote_pid(processes), reports.ready[1]])
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)

    run(scenario)
    assert all(is_gone(pid) for pid in pids)


# ---- what the engine makes of it


def test_a_start_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the reason, and the place gets another worker."""
    engine = engine_of(square_app)
    caplog.set_level("INFO")
    engine.performer.processes.links.clear()
    engine.performer.inbox.on_start_failure(1, "Too many open files")
    assert [record.msg for record in caplog.records] == [
        "worker default/0 did not start: Too many open files",
        "worker default/0 is replaced now",
    ]
    assert list(engine.performer.processes.links) == [2]


def test_a_suspended_worker_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the reason of the kill."""
    engine = engine_of(square_app)
    engine.performer.inbox.on_suspended(ready(engine), "it was stopped by a signal")
    assert "worker default/0 is killed: it was stopped by a signal" in [record.msg for record in caplog.records]
