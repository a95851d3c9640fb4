"""Everything that a fork, an import or a file's name might break between ``penstock serve`` and a handler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import Served, write_app

pytestmark = pytest.mark.e2e

# ---- start methods

THREADED = """
    import os
    import threading
    from penstock import App

    app = App(__name__)
    threading.Thread(target=threading.Event().wait, name="lingerer", daemon=True).start()
    IMPORTED_IN = os.getpid()

    @app.endpoint("/is-fresh", workers=2)
    def is_fresh() -> bool:
        return IMPORTED_IN == os.getpid()
"""


@pytest.mark.parametrize(
    ("options", "is_fresh", "logged"),
    [
        ((), True, "so each worker is a new process"),
        (("--start-method", "fork"), False, "workers may hang or fail"),
        (("--start-method", "fresh"), True, ""),
    ],
    ids=["auto", "fork", "fresh"],
)
def test_start_method(tmp_path: Path, options: tuple[str, ...], is_fresh: bool, logged: str) -> None:
    """An app that cannot be forked gets fresh workers, and one log line with the reason; the option overrides that."""
    app = write_app(tmp_path, THREADED)
    with Served(app, *options, "--log-format", "json", folder=tmp_path) as served:
        assert served.post_json("/is-fresh", {}).json() is is_fresh
        events = served.events("fork-hazards")
    assert [event["hazards"] for event in events] == (["thread 'lingerer'"] if logged else [])
    assert all(logged in event["message"] for event in events)


# ---- names of files

SHADOWED = """
    import calendar
    import importlib
    import queue

    import outcome_of_ours
    from penstock import App

    app = App(__name__)

    @app.endpoint("/origins", runtime={runtime!r})
    async def origins(names: list[str]) -> list[str]:
        return [importlib.import_module(name).__name__ for name in names]
"""
STANDARD_NAMES = ["random", "queue", "types", "token", "calendar", "select", "email", "stringprep"]
NAMES_OF_DEPENDENCIES = ["outcome", "sniffio", "attr"]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """A folder whose files have the names of modules that Penstock needs, and that raise if they are imported."""
    for name in [*STANDARD_NAMES, *NAMES_OF_DEPENDENCIES]:
        write_app(tmp_path, f"raise RuntimeError('the {name} of the user')", f"{name}.py")
    write_app(tmp_path, "", "outcome_of_ours.py")
    return tmp_path


@pytest.mark.parametrize("options", [(), ("--start-method", "fresh")], ids=["fork", "fresh"])
def test_files_named_like_modules(folder: Path, options: tuple[str, ...]) -> None:
    """A file in the user's folder never replaces a module of the standard library, or one that Penstock needs."""
    app = write_app(folder, SHADOWED.format(runtime="trio"))
    with Served(app, *options, folder=folder) as served:
        assert served.post_json("/origins", {"names": STANDARD_NAMES}).json() == STANDARD_NAMES
        assert "of the user" not in served.output()


def test_check_of_files_named_like_modules(folder: Path) -> None:
    """``penstock check`` imports the same modules as the server."""
    app = write_app(folder, SHADOWED.format(runtime="asyncio"))
    command = [sys.executable, "-m", "penstock_cli", "check", app.name]
    checked = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr


def test_app_named_like_a_module(tmp_path: Path) -> None:
    """An app's own file may not have such a name; the error says to rename it."""
    app = write_app(tmp_path, SHADOWED, "queue.py")
    with Served(app, folder=tmp_path, ready_timeout=None) as served:
        assert served.wait() == 2
        assert "'queue', but that is another module; rename the file" in served.output()
