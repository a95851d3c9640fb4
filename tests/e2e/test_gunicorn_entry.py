"""``gunicorn -c python:penstock_gunicorn.conf module:app`` serves an app as ``penstock serve`` does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import HOST, Served, free_port, wait_until, write_app

pytestmark = pytest.mark.e2e

SOURCE = """
    from penstock import App

    app = App(__name__)

    @app.endpoint("/one")
    def one() -> int:
        return 1
    """
COMMAND = [sys.executable, "-m", "gunicorn", "-c", "python:penstock_gunicorn.conf"]


class Gunicorn(Served):
    """A server that gunicorn's command line has started."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__("demo:app", folder=folder)
        address = f"{HOST}:{free_port()}"
        self.port = int(address.rpartition(":")[2])
        self.command = [*COMMAND, "demo:app", "-b", address, *options]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path, SOURCE, "demo.py")
    return tmp_path


@pytest.fixture
def served(folder: Path) -> Iterator[Gunicorn]:
    with Gunicorn(folder, "-w", "2", "--pid", str(folder / "pid")) as served:
        yield served


def test_several_workers_share_one_engine(served: Gunicorn) -> None:
    """``-w`` is the number of HTTP processes, of which each is in the one status."""
    wait_until(lambda: len(served.status()["hosts"]) == 2, "both HTTP processes")
    assert served.post_json("/one", {}).body == b"1"


def test_signals_and_the_pid_file_work_as_ever(served: Gunicorn, folder: Path) -> None:
    """SIGHUP serves the new code without a gap; after SIGTERM the file is gone."""
    assert int((folder / "pid").read_text(encoding="utf-8")) == served.process.pid
    write_app(folder, SOURCE.replace("return 1", "return 2"), "demo.py")
    os.kill(served.process.pid, signal.SIGHUP)
    wait_until(lambda: served.post_json("/one", {}).body == b"2", "the new code", timeout=30.0)
    assert served.stop() == 0
    assert not (folder / "pid").exists()


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (["--threads", "4"], "gunicorn's setting threads cannot be taken over: set endpoint(concurrency=...)"),
        (["--backlog", "4"], "gunicorn's setting backlog cannot be taken over: set it in the file"),
    ],
)
def test_a_setting_that_cannot_be_taken_over(folder: Path, option: list[str], reason: str) -> None:
    """It is refused with the way to get the same, and not ignored."""
    with contextlib.chdir(folder):
        ended = subprocess.run([*COMMAND, "demo:app", *option], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert reason in ended.stderr
