"""The fixture for the tests of programs that embed an engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import wait_until, write_app

pytestmark = pytest.mark.e2e

CONFTEST = """
    from penstock.testing import engine_fixture
    from words import app

    engine = engine_fixture(app)
"""
WORDS = """
    from penstock import App

    app = App(__name__)

    @app.endpoint("/length")
    def length(text: str) -> int:
        return len(text)

    @app.endpoint("/pid")
    def pid() -> int:
        import os
        return os.getpid()
"""
TESTS = """
    import os

    import pytest
    from penstock import InvalidRequest

    def test_a_call(engine):
        assert engine.call("length", {"text": "four"}) == 4

    def test_an_error(engine):
        with pytest.raises(InvalidRequest):
            engine.call("length", {"text": 4})

    def test_a_process_of_its_own(engine):
        pid = engine.call("pid")
        assert pid != os.getpid()
        print("worker", pid)
"""


def test_tests_call_the_real_workers(tmp_path: Path) -> None:
    """Written into a ``conftest.py`` in one line; nothing runs after the last test."""
    for name, source in (("conftest.py", CONFTEST), ("words.py", WORDS), ("test_words.py", TESTS)):
        write_app(tmp_path, source, name)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "--durations=3"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    pid = next(word for line in done.stdout.splitlines() if "worker" in line for word in line.split() if word.isdigit())
    wait_until(lambda: not is_running(pid), "the worker's end")


def is_running(pid: str) -> bool:
    """Return whether a process runs; one that has ended may still have to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
