from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from penstock.wire import Loaded, LoadFailed, SetupFailed
from tests.core.worker.zygote_client import ZygoteClient, is_gone
from tests.serving import wait_until

THREADED_APP = """
import threading
from penstock.app import App

threading.Thread(target=threading.Event().wait, name="lingerer", daemon=True).start()
app = App(__name__)

@app.endpoint("/square")
def square(input: float) -> float:
    print("squaring")
    return input**2
"""

DRAWING_APP = """
import random
import numpy
from penstock.app import App

random.seed(1)
numpy.random.seed(1)
app = App(__name__)

@app.endpoint("/draw")
def draw() -> list[float]:
    return [random.random(), numpy.random.random()]
"""


@pytest.fixture(scope="module")
def zygote():
    with ZygoteClient() as client:
        yield client


@pytest.fixture
def worker(zygote):
    return zygote.spawn()


def zygote_of(tmp_path: Path, source: str, target: str = "{}") -> ZygoteClient:
    file = tmp_path / "app_under_test.py"
    file.write_text(source)
    return ZygoteClient(target.format(file))


# ---- the beginning


def test_loaded(zygote):
    """The zygote reports that the app is imported, and that the import left no threads."""
    assert isinstance(zygote.loaded, Loaded)
    assert zygote.loaded.hazards == []


def test_import_that_fails(tmp_path):
    """An import that raises is reported with a traceback that starts in the user's code, and ends the zygote."""
    with zygote_of(tmp_path, "def go():\n    1 / 0\ngo()\n") as zygote:
        assert isinstance(zygote.loaded, LoadFailed)
        assert "ZeroDivisionError" in zygote.loaded.traceback
        assert zygote.loaded.traceback.splitlines()[1].endswith("in <module>")
        assert zygote.loaded.traceback.count("File ") == 2


def test_import_that_leaves_threads(tmp_path):
    """Where the import starts threads, workers are executed instead of forked, and work the same."""
    with zygote_of(tmp_path, THREADED_APP) as zygote:
        assert zygote.loaded.hazards == ["thread 'lingerer'"]
        worker = zygote.spawn()
        assert worker.ask("square", {"input": 4}) == 16.0
        worker.output_until("squaring")
        os.kill(worker.pid, signal.SIGKILL)
        assert zygote.exited().status == -signal.SIGKILL
        assert zygote.spawn().ask("square", {"input": 3}) == 9.0


def test_setup_that_fails(zygote):
    """A ``setup`` that raises is reported with the endpoint and the user's frames, and ends the worker."""
    worker = zygote.spawn("broken-model", ready=False)
    message = worker.wire.expect(SetupFailed)
    assert message.endpoint == "broken-model"
    assert "FileNotFoundError: weights.bin" in message.traceback
    assert message.traceback.count("File ") == 2
    assert (zygote.exited().worker, worker.is_gone()) == (worker.number, True)


def test_workers_draw_different_numbers(tmp_path):
    """Workers forked from one zygote do not share the state of a random generator, numpy's included."""
    pytest.importorskip("numpy")
    with zygote_of(tmp_path, DRAWING_APP) as zygote:
        first, second = zygote.spawn().ask("draw"), zygote.spawn().ask("draw")
    assert first[0] != second[0]
    assert first[1] != second[1]


# ---- output and input


def test_output(worker):
    """Everything that user code writes to stdout, stderr and their descriptors arrives in the pipe, line by line."""
    worker.ask("speak")
    text = worker.output_until("raw bytes")
    assert "to stdout\n" in text
    assert "to stderr\n" in text


def test_meddling_with_descriptors(worker):
    """Garbage on descriptor 1 and a closed stdin do no harm; stdin is empty."""
    assert worker.ask("meddle") == "b''"
    assert worker.ask("square", {"input": 4}) == 16.0


# ---- forks by user code


def test_fork_that_exits(worker):
    """User code may fork and wait for its child."""
    assert worker.ask("fork-and-exit") == 7
    assert worker.ask("square", {"input": 4}) == 16.0


def test_fork_that_returns(worker):
    """A forked child that returns from the handler ends there: only the worker answers."""
    assert worker.ask("fork-and-return") == 0
    assert worker.wire.is_silent()
    assert worker.ask("square", {"input": 4}) == 16.0


@pytest.mark.parametrize("endpoint", ["terminate-a-child", "terminate-a-child-in-a-thread"])
def test_child_is_terminated(zygote, worker, endpoint):
    """``Process.terminate()`` ends a child at once, even one that has not run yet, whichever thread forks it."""
    forker = zygote.spawn("forking-threads") if "thread" in endpoint else worker
    assert [forker.ask(endpoint) for _ in range(5)] == [-signal.SIGTERM] * 5


@pytest.mark.parametrize(("command", "ends"), [("exec sleep 60", True), ("sleep 60; true", False)])
def test_interrupt_of_a_shell(zygote, worker, command, ends):
    """An interrupt ends a command that the shell executes, but not one that it awaits; a dead worker leaves neither."""
    attempt = worker.run("run-a-shell", {"command": command})
    shell = int(re.search(r"shell (\d+)", worker.output_until("\n"))[1])
    sleeper = shell if ends else wait_until(lambda: child_of(shell), "a sleeper")
    worker.interrupt(attempt)
    worker.done(attempt)
    assert is_gone(shell)
    assert is_alive(sleeper) is not ends
    os.kill(worker.pid, signal.SIGKILL)
    assert zygote.exited().worker == worker.number
    assert is_gone(sleeper)


def child_of(pid: int) -> int:
    """Return the only child of a process, or 0 if it has none yet."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text() or 0)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text() != ""


def test_pool_is_left_early(worker):
    """Leaving ``with Pool()`` while a task runs ends its processes."""
    assert worker.ask("leave-a-pool") == [False, False]
    assert worker.ask("square", {"input": 4}) == 16.0


def test_signal_handlers_of_a_child(worker):
    """A child has Python's default handlers in place of Penstock's, and keeps the user's; the worker keeps them all."""
    in_worker = worker.ask("handlers-of-a-child")
    text = worker.output_until("wakeup: -1")
    in_child = text.partition("handlers:\n")[2].splitlines()[:5]
    assert "default_int_handler" in in_child[0]
    assert in_child[1:4] == [str(signal.SIG_DFL)] * 3
    assert "users_handler" in in_child[4]
    assert "blocked: set()" in text
    assert "ignore" in in_worker["SIGTERM"]
    assert "_on_signal" in in_worker["SIGUSR1"]


def test_children_of_a_worker_die_with_it(zygote, worker):
    """The death of a worker is detected although a child of its own is alive, and that child is killed."""
    child = worker.ask("fork-a-sleeper")
    os.kill(worker.pid, signal.SIGKILL)
    exited = zygote.exited()
    assert (exited.worker, exited.status) == (worker.number, -signal.SIGKILL)
    assert is_gone(child)


# ---- the end


def test_crash(zygote, worker):
    """A crash is reported with its signal; the output shows where it was, and the next worker works."""
    worker.run("die", {"signal": int(signal.SIGSEGV)})
    assert zygote.exited().status == -signal.SIGSEGV
    assert worker.wire.receive() is None
    worker.output_until("in die")
    assert zygote.spawn().ask("square", {"input": 4}) == 16.0


def test_stop_signals_are_the_engines(worker):
    """SIGINT and SIGTERM, which a terminal sends to all processes, do not affect a worker and its zygote."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
        os.kill(worker.zygote.process.pid, number)
    assert worker.ask("square", {"input": 4}) == 16.0
    assert worker.zygote.spawn().ask("square", {"input": 4}) == 16.0


def test_worker_ends_with_its_socket(zygote, worker):
    """A worker whose engine is gone exits at once, whatever runs."""
    busy = zygote.spawn("tasks")
    busy.run("async-sleep")
    for one in (worker, busy):
        one.wire.sock.close()
        assert one.is_gone()
        assert zygote.exited().status == 0


def test_workers_die_with_their_zygote():
    """Killing the zygote kills its workers, even those that are stuck in user code."""
    with ZygoteClient() as zygote:
        worker = zygote.spawn()
        worker.run("stuck", {"how": "loop"})
        worker.output_until("stuck")
        zygote.process.kill()
        assert worker.is_gone()


def test_zygote_ends_with_its_socket():
    """A zygote whose engine is gone kills its workers, even those that are stuck in user code."""
    zygote = ZygoteClient()
    worker = zygote.spawn()
    worker.run("stuck", {"how": "loop"})
    worker.output_until("stuck")
    zygote.close()
    assert zygote.process.returncode == 0
    assert is_gone(worker.pid)


# ---- scripts

GUARDED = """
from penstock.app import App
app = App(__name__)

@app.endpoint("/name")
def name() -> str:
    return __name__

if __name__ == "__main__":
    raise SystemExit("the main guard did not hold")
"""

# `open_here` stands for penstock.start_engine: while a program is being loaded, that ends in `reached`.
UNGUARDED = """
from penstock.app import App
from penstock.app.loader import loading, reached

app = App(__name__)
other = App(__name__)

@app.endpoint("/name")
def name() -> str:
    return __name__

def open_here(app):
    if loading.active:
        reached(app)
    raise AssertionError("an engine was opened inside an engine's own worker")

try:
    open_here(app)
finally:
    raise RuntimeError("a program may make anything of being stopped")
"""


@pytest.mark.parametrize("source", [GUARDED, UNGUARDED], ids=["guarded", "unguarded"])
def test_script(tmp_path, source):
    """A program that embeds an engine is imported up to where it would open it, with a main guard or without."""
    with zygote_of(tmp_path, source, "script:{}") as zygote:
        assert isinstance(zygote.loaded, Loaded), zygote.loaded
        assert zygote.spawn().ask("name") == "__penstock_main__"
