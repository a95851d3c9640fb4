"""``penstock openapi``: the document on standard output, and what cannot be done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.serving import write_app

APP = """
    import sys

    from penstock import App

    print("imported with", sys.argv[1:])
    app = App(__name__, version="3")

    @app.endpoint("/square")
    def square(input: float) -> float:
        '''Square a number: x².'''
        return input**2
"""


def run(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock_cli", "openapi", *arguments]
    environment = {**os.environ, **environ}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_document_is_on_stdout(tmp_path: Path) -> None:
    """It is the only thing there: what the app prints goes to stderr. The app has its arguments."""
    write_app(tmp_path, APP, "demo.py")
    ran = run("demo:app", "--", "--fast", folder=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "imported with ['--fast']\n")
    document = json.loads(ran.stdout)
    assert document["info"] == {"title": "demo", "version": "3"}
    assert "x²" in ran.stdout
    assert ran.stdout.count("\n") > 100


def test_a_bad_setting_is_reported_as_at_the_start(tmp_path: Path) -> None:
    """A plug-in with a wrong setting has no description; the message names both, and the exit code is 2."""
    write_app(tmp_path, APP, "demo.py")
    ran = run("demo:app", folder=tmp_path, PENSTOCK_TIMEOUTS_HEADERS="x-hurry")
    assert ran.returncode == 2
    assert "plug-in 'timeouts' are invalid: no deadline can be read from header 'x-hurry'" in ran.stderr
    assert ran.stdout == ""


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With the reason, and no traceback."""
    write_app(tmp_path, APP, "demo.py")
    ran = run("demo:app", "--output", "missing/api.json", folder=tmp_path)
    assert ran.returncode == 1
    assert "missing/api.json cannot be written: No such file or directory" in ran.stderr
    assert "Traceback" not in ran.stderr
