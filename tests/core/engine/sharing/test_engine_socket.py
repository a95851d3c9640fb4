"""The socket of a shared engine is its user's alone, and its mistakes have an error each."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from penstock.engine.sharing.engine_socket import EngineSocket, is_ours
from penstock.errors import EngineError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_only_its_user_can_reach_it(folder: Path) -> None:
    """It is in a folder of its own, which goes with it."""
    made = EngineSocket()
    home = Path(made.path).parent
    assert home.parent == folder
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    made.close()
    assert not list(folder.iterdir())


def test_a_path_that_is_too_long(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's limit is named, with the fix, and nothing is left behind."""
    deep = folder / ("x" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(EngineError, match=r"no more than 107 are possible; set TMPDIR to a folder with a shorter path"):
        EngineSocket()
    assert not list(deep.iterdir())


def test_a_folder_that_cannot_be_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause is the system's: no permission, or a full disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    with pytest.raises(EngineError, match="No such file or directory; set TMPDIR to a folder that can be written to"):
        EngineSocket()


def test_no_temporary_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is then no name of one to say, and the fix is the same."""

    def find_none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", find_none)
    with pytest.raises(EngineError, match="in a temporary folder: No usable temporary directory found; set TMPDIR"):
        EngineSocket()


def test_a_child_does_not_remove_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the process that made the folder removes it: a fork closes its copy of the listener and no more."""
    made = EngineSocket()
    with monkeypatch.context() as as_child:
        as_child.setattr(os, "getpid", lambda: -1)
        made.close()
    assert Path(made.path).exists()
    made.close()
    assert not list(folder.iterdir())


def test_a_process_of_another_user_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system says whose process is at the other end."""
    here, there = socket.socketpair()
    with here, there:
        assert is_ours(here)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert not is_ours(here)
