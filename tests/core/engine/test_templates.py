"""Pools that preload, as the engine starts their workers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penstock import App, open_engine
from penstock.engine.processes.templates import Templates
from penstock.engine.processes.worker_processes import WorkerProcesses
from penstock.wire import Spawn, TemplateLost, TemplateReady
from tests.core.engine.real_processes import running, until, zygote_pid

SOURCE = """
import os, time
from pathlib import Path
from penstock import App

app = App(__name__)
GATE = Path(__file__).with_name("gate")

@app.endpoint("/model", pool="p", preload=True)
class Model:
    def setup(self):
        while not GATE.exists():
            time.sleep(0.002)
        if GATE.read_text() == "broken":
            raise ValueError("no weights")

    def predict(self) -> int:
        return os.getpid()
"""


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())


def spawn(processes: WorkerProcesses, *workers: int) -> None:
    for worker in workers:
        processes.spawn(worker, "p", worker, None, preload=True)


def is_requested(processes: WorkerProcesses, worker: int) -> bool:
    return worker in processes.links and worker not in processes._to_spawn


# ---- the rules


def order(worker: int, pool: str = "p", *, preload: bool = True) -> Spawn:
    return Spawn(worker, pool, f"{pool}/{worker}", None, preload)


def test_one_worker_sets_the_models_up_and_the_others_wait() -> None:
    """Other pools do not wait, and with the template none does; without it, the next worker sets the models up."""
    templates = Templates()
    assert templates.admits(order(1))
    templates.on_requested(order(1))
    assert not templates.admits(order(2))
    assert templates.admits(order(2, "q"))
    assert templates.admits(order(2, preload=False))
    templates.on_message(TemplateReady("p", 77))
    assert (templates.pids, templates.forget(1)) == ({"p": 77}, "")
    templates.on_requested(order(2))
    assert templates.admits(order(3))
    templates.on_message(TemplateLost("p"))
    assert templates.admits(order(3))
    templates.on_requested(order(3))
    assert not templates.admits(order(4))
    assert (templates.forget(4), templates.forget(3)) == ("", "p")
    assert templates.admits(order(4))


# ---- with real processes


def test_workers_wait_for_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The zygote is asked for the others when the template is there, and the log says which process that is."""
    caplog.set_level("INFO", "penstock")

    async def scenario() -> None:
        async with running(tmp_path, workers=0, source=SOURCE) as (processes, reports):
            spawn(processes, 1, 2, 3)
            await until(lambda: processes.links[1].pid is not None)
            assert [is_requested(processes, worker) for worker in (1, 2, 3)] == [True, False, False]
            (tmp_path / "gate").touch()
            await until(lambda: len(reports.ready) == 3)
            pid = processes.template_pid("p")
            assert f"its workers are forked from process {pid}" in caplog.text
            assert pid not in reports.ready.values()

    run(scenario)


def test_workers_that_wait_fail_with_the_first(tmp_path: Path) -> None:
    """Each is a failed start, as if it had set its own model up; so the pool fails and backs off as any other."""

    async def scenario() -> None:
        async with running(tmp_path, workers=0, source=SOURCE) as (processes, reports):
            spawn(processes, 1, 2, 3)
            (tmp_path / "gate").write_text("broken")
            await until(lambda: len(reports.exits) == 3)
            assert reports.exits[1] == "exit code 1"
            reason = "p/1, which was to set up the models of its pool, has ended"
            assert reports.exits[2] == reports.exits[3] == reason
            (tmp_path / "gate").write_text("mended")
            spawn(processes, 4, 5)
            await until(lambda: len(reports.ready) == 2)

    run(scenario)


def test_a_worker_that_waits_may_be_killed(tmp_path: Path) -> None:
    """It was never started, and the others go on to wait."""

    async def scenario() -> None:
        async with running(tmp_path, workers=0, source=SOURCE) as (processes, reports):
            spawn(processes, 1, 2, 3)
            processes.kill(2)
            await until(lambda: 2 in reports.exits)
            assert reports.exits == {2: "never started"}
            (tmp_path / "gate").touch()
            await until(lambda: reports.ready.keys() == {1, 3})

    run(scenario)


def test_the_zygote_dies_while_models_are_set_up(tmp_path: Path) -> None:
    """The worker dies with it, and those that wait for it fail; the next zygote begins anew."""

    async def scenario() -> None:
        async with running(tmp_path, workers=0, source=SOURCE) as (processes, reports):
            spawn(processes, 1, 2)
            await until(lambda: processes.links[1].pid is not None)
            os.kill(zygote_pid(processes), signal.SIGKILL)
            await until(lambda: len(reports.exits) == 2)
            (tmp_path / "gate").touch()
            spawn(processes, 3, 4)
            await until(lambda: reports.ready.keys() == {3, 4})

    run(scenario)


def test_a_template_that_dies_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so; its workers go on, and the next one leaves another template."""

    async def scenario() -> None:
        (tmp_path / "gate").touch()
        async with running(tmp_path, workers=0, source=SOURCE) as (processes, reports):
            spawn(processes, 1, 2)
            await until(lambda: len(reports.ready) == 2)
            lost = processes.template_pid("p")
            assert lost is not None
            os.kill(lost, signal.SIGKILL)
            await until(lambda: processes.template_pid("p") is None)
            assert "the process that keeps the models of pool p died" in caplog.text
            spawn(processes, 3, 4)
            await until(lambda: len(reports.ready) == 4)
            await until(lambda: processes.template_pid("p") not in {None, lost})
            assert reports.exits == {}

    run(scenario)


# ---- a whole engine

app = App(__name__)


@app.endpoint("/set-up-in", preload=True, workers=2, pool="preloading")
class SetUpIn:
    def setup(self) -> None:
        self.pid = os.getpid()

    def predict(self) -> list[int]:
        return [self.pid, os.getpid()]


@app.endpoint("/square")
def square(x: float) -> float:
    return x * x


def test_the_status_page_shows_the_template() -> None:
    """A pool that preloads has a field ``template``, and no other pool has."""

    async def scenario() -> None:
        async with open_engine(app) as engine:
            await until(lambda: engine.status()["pools"]["preloading"]["template"])
            set_up_in, _ = await engine.call("set-up-in")
            assert engine.status()["pools"]["preloading"]["template"] != set_up_in
            assert "template" not in engine.status()["pools"]["default"]

    run(scenario)
