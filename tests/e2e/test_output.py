"""Output holds nothing up: not the event loop, not the other workers, not the deadlines."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import HOST, ROOT, Served, free_port, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import logging
    import time

    import penstock

    app = penstock.App(__name__)


    @app.endpoint("/noop")
    def noop() -> int:
        return 1


    @app.endpoint("/fail", pool="noisy")
    def fail() -> int:
        raise ValueError("x" * 5000)


    @app.endpoint("/noisy", pool="noisy", timeouts=penstock.Timeouts(execution=0.5))
    def noisy() -> int:
        for number in range(10**9):
            print("a line of output", number)
"""


class _Unread:
    """A ``penstock serve`` whose output goes to a pipe that is not read, or to nowhere at all."""

    def __init__(self, app: Path, *, stderr: int | None) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "penstock_cli", "serve", str(app), "--port", str(self.port)]
        if stderr is None:
            command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, cwd=ROOT, start_new_session=True
        )

    def ask(self, method: str, path: str, timeout: float = 5.0) -> tuple[int, float]:
        started = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=timeout)) as connection:
            connection.request(method, path, b"{}" if method == "POST" else None)
            response = connection.getresponse()
            response.read()
            return response.status, time.monotonic() - started

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"it ended with exit code {self.process.returncode}"
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False


@contextlib.contextmanager
def unread(app: Path, *, stderr: int | None) -> Iterator[_Unread]:
    served = _Unread(app, stderr=stderr)
    try:
        wait_until(served.is_ready, "/readyz", timeout=30)
        yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait(timeout=10)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path, APP)


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The write end of a pipe that is not read, and full, so that the next write to it waits."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


def test_a_pipe_that_is_not_read_stops_nothing(app: Path, full_pipe: int) -> None:
    """A handler that prints is held back by its own pipe and meets its deadline; everything else goes on."""
    with unread(app, stderr=full_pipe) as served:
        status, seconds = served.ask("POST", "/noisy")
        assert status == 504
        assert seconds < 1.5
        assert served.ask("POST", "/fail")[0] == 500
        for method, path in [("POST", "/noop"), ("GET", "/livez")]:
            status, seconds = served.ask(method, path)
            assert status == 200
            assert seconds < 0.5
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=10) == 0


def test_a_closed_stderr_stops_nothing(app: Path) -> None:
    """``penstock serve app.py 2>&-`` serves: no socket takes the number of stderr, and nothing is written into one."""
    with unread(app, stderr=None) as served:
        assert served.ask("POST", "/fail")[0] == 500
        assert served.ask("POST", "/noop")[0] == 200
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=10) == 0


def test_printing_in_a_loop_delays_no_other_worker(app: Path) -> None:
    """A handler that prints without end takes a bounded part of the loop's time; its deadline is met."""
    with Served(app) as served, contextlib.closing(http.client.HTTPConnection(HOST, served.port)) as connection:

        def seconds() -> float:
            started = time.monotonic()
            connection.request("POST", "/noop", b"{}", {"Content-Type": "application/json"})
            assert connection.getresponse().read() == b"1"
            return time.monotonic() - started

        noisy = http.client.HTTPConnection(HOST, served.port)
        with contextlib.closing(noisy):
            noisy.request("POST", "/noisy", b"{}", {"Content-Type": "application/json"})
            started = time.monotonic()
            while time.monotonic() - started < 0.4:
                latencies = sorted(seconds() for _ in range(20))
                assert latencies[10] < 0.02
            assert json.loads(noisy.getresponse().read())["status"] == 504
        assert time.monotonic() - started < 1.0
