"""The pid file: it replaces what an ended server has left, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock_gunicorn import PidFileError, prepare_pid_file, published_by
from penstock_gunicorn.bulletin import Bulletin, ReloadRecord
from tests.serving import Served, write_app

APP = """
    from penstock import App

    app = App(__name__)

    @app.endpoint("/one")
    def one() -> int:
        return 1
"""
NO_PROCESS = 4194304  # the kernel's limit, which no process reaches


@pytest.fixture
def another() -> Iterator[int]:
    """Return a process that is not a server."""
    pid = os.fork()
    if pid == 0:
        os.execvp("sleep", ["sleep", "60"])
    yield pid
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def test_a_stale_file_is_removed(tmp_path: Path, another: int) -> None:
    """Its process has ended, or its number is another program's now. An empty file is left."""
    path = tmp_path / "server.pid"
    for pid in (NO_PROCESS, another, os.getpid()):
        path.write_text(f"{pid}\n", encoding="utf-8")
        prepare_pid_file(path)
        assert not path.exists()
    path.touch()
    prepare_pid_file(path)


@pytest.mark.parametrize("content", ["import this", "-1", "0", "1" * 50, "12 13"])
def test_a_file_with_something_else_in_it_is_left_alone(tmp_path: Path, content: str) -> None:
    """It may be the user's own, by a mistake in the path."""
    path = tmp_path / "app.py"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PidFileError, match="is not a pid file"):
        prepare_pid_file(path)
    assert path.read_text(encoding="utf-8") == content


def test_a_folder_that_is_missing_or_closed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    with pytest.raises(PidFileError, match="there is no folder"):
        prepare_pid_file(tmp_path / "none" / "server.pid")
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who has every permission
    with pytest.raises(PidFileError, match="no permission"):
        prepare_pid_file(tmp_path / "server.pid")


@pytest.mark.e2e
def test_a_second_server_with_the_same_file_does_not_start(tmp_path: Path) -> None:
    """Exit code 2, and the first one is not disturbed."""
    target, path = write_app(tmp_path, APP), tmp_path / "server.pid"
    with Served(target, "--pid-file", str(path)) as first:
        with Served(target, "--pid-file", str(path), ready_timeout=None) as second:
            assert second.wait() == 2
            assert f"a server is running already, as process {first.process.pid}" in second.output()
        assert int(path.read_text(encoding="utf-8")) == first.process.pid
        assert first.post_json("/one", {}).status == 200


def test_a_process_publishes_how_its_reloads_went(another: int) -> None:
    """Others of the same user read it; a process that is not a server publishes nothing."""
    bulletin = Bulletin()
    assert published_by(os.getpid()) is None
    record = ReloadRecord(os.getpid(), generation=3, begun=4, ended=4, failures={"4": "é" * 1000})
    try:
        bulletin.publish(record)
        assert published_by(os.getpid()) == bulletin.read() == record
        assert published_by(another) is None
    finally:
        bulletin.close()
    assert published_by(os.getpid()) is None
    with pytest.raises(ProcessLookupError):
        published_by(NO_PROCESS)
