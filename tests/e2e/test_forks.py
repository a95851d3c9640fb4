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


# ---- arguments

PARSING = """
    import argparse
    import sys
    from penstock import App

    app = App(__name__)
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="none")
    options = parser.parse_known_args()[0]
    print("imported with", sys.argv)

    @app.endpoint("/arguments")
    def arguments() -> list[object]:
        return [options.model, sys.argv]
"""


@pytest.mark.parametrize(("target", "start_method"), [("app_under_test.py", "fork"), ("app_under_test:app", "fresh")])
def test_arguments(tmp_path: Path, start_method: str, target: str) -> None:
    """In every process the app sees its file and the arguments after ``--``, and never those of Penstock."""
    file = write_app(tmp_path, PARSING)
    argv = [target if target.endswith(".py") else str(file), "--model", "small", "--", "--port"]
    with Served(target, "--start-method", start_method, "--", *argv[1:], folder=tmp_path) as served:
        assert served.post_json("/arguments", {}).json() == ["small", argv]
        lines = [line for line in served.log_lines() if "imported with" in line]
    assert len(lines) == 2
    assert all(f"imported with {argv}" in line for line in lines)


# ---- output

FOREIGN = """
    import sys
    from penstock import App

    app = App(__name__)
    print("imported: \\u00e9")

    @app.endpoint("/print")
    def print_it() -> str:
        print("handled: \\u00e9", sys.stdin.encoding, sys.stdout.encoding, sys.stderr.encoding)
        return "\\u00e9"
"""


@pytest.mark.parametrize("start_method", ["fork", "fresh"])
def test_output_in_a_locale_without_utf8(tmp_path: Path, start_method: str) -> None:
    """Non-ASCII text that is printed stops neither the start nor a handler in the C locale without UTF-8 mode."""
    app = write_app(tmp_path, FOREIGN)
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with Served(app, "--start-method", start_method, environment=environment, folder=tmp_path) as served:
        assert served.post_json("/print", {}).json() == "\u00e9"
        assert served.wait_for_line("handled: \\xe9 utf-8 utf-8 utf-8")
        assert served.output().count("imported: \\xe9") == 2
