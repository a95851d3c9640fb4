r"""A real ``penstock serve`` for tests: started, queried, stopped, and cleaned up in any case.

::

    with Served("examples/filetype.py", "--drain-timeout", "5") as served:
        answer = served.post("/identify", b"#!/bin/sh\n")
        assert answer.status == 200
        assert served.stop() == 0

Every wait here is bounded. If the test fails, the output of the server is printed, so that pytest shows it.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
T = TypeVar("T")
SETTLE_SECONDS = 0.03
MOST_LOOKS = 10

# Below Linux's default range of ephemeral ports (from 32768), so that no outgoing connection can take a port after it
# was found free and before the server binds it. Each pytest-xdist process draws from a range of its own.
FIRST_PORT = 20_000
PORTS_PER_PROCESS = 3_000


def _candidate_ports() -> Iterator[int]:
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    offsets = list(range(PORTS_PER_PROCESS))
    random.Random(os.getpid()).shuffle(offsets)
    return itertools.cycle(FIRST_PORT + place * PORTS_PER_PROCESS + offset for offset in offsets)


_ports = _candidate_ports()


def free_port() -> int:
    """Return an unused port of the loopback address, never the same twice in a row."""
    for port in itertools.islice(_ports, PORTS_PER_PROCESS):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise RuntimeError(f"none of {PORTS_PER_PROCESS} ports is free")


def wait_until(condition: Callable[[], T], what: str, *, timeout: float = 10.0) -> T:
    """Return the first truthy result of ``condition``, which is called every 10 ms.

    Raises
    ------
    AssertionError
        If there is none within ``timeout`` seconds; the message names ``what``.
    """
    give_up_at = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= give_up_at:
            raise AssertionError(f"{timeout} s passed without: {what}")
        time.sleep(0.01)


def write_app(folder: Path, source: str, name: str = "app_under_test.py") -> Path:
    """Write the dedented source of an app into ``folder``; return its path, a target for ``Served``."""
    path = folder / name
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Answer:
    """A complete HTTP response. Names in ``headers`` are lower case; ``seconds`` is the duration of the exchange."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        """Return the body decoded as JSON."""
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        """Return the JSON values of an NDJSON body."""
        return [json.loads(line) for line in self.body.splitlines()]


WAYS: dict[str, Mapping[str, str]] = {"direct": {}, "asgi": {"X_Unusual": "1"}}
"""Headers that make a small request take each of the two ways through our server. gunicorn drops the odd name."""


EVERYWHERE = os.environ.get("TEST_SERVE_OPTIONS", "").split()
"""Options for every server, to run the tests of one HTTP process with several: ``--http-workers 2``."""


class Served:
    """A ``penstock serve`` in a process and a session of its own, on a free port of the loopback address.

    Parameters
    ----------
    target:
        The app to serve: ``module:app`` or a file. A relative path is relative to ``folder``.
    options:
        Further command-line options, such as ``"--drain-timeout", "5"``.
    environment:
        Environment variables, added to those of this process.
    folder:
        The working folder of the server. Default: the root of the project.
    ready_timeout:
        Seconds within which ``/readyz`` must answer 200. ``None`` does not wait, for apps that never become ready.

    Attributes
    ----------
    extra_headers:
        Headers that ``request`` adds: those of a value of ``WAYS``, for instance.
    """

    def __init__(
        self,
        target: str | Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
        ready_timeout: float | None = 60.0,
    ) -> None:
        self.host = HOST
        self.port = free_port()
        self.base_url = f"http://{HOST}:{self.port}"
        self.folder = folder
        self.environment = dict(environment or {})
        self.ready_timeout = ready_timeout
        self.extra_headers: Mapping[str, str] = {}
        address = ["--host", HOST, "--port", str(self.port), *EVERYWHERE]
        self.command = [sys.executable, "-m", "penstock_cli", "serve", str(target), *address, *options]
        self.process: subprocess.Popen[bytes]
        self.log_path: Path

    def __repr__(self) -> str:
        return f"<Served {' '.join(self.command[2:])}>"

    def __enter__(self) -> Self:
        descriptor, name = tempfile.mkstemp(prefix="penstock-served-", suffix=".log")
        self.log_path = Path(name)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )
        os.close(descriptor)
        if self.ready_timeout is not None:
            try:
                self.wait_ready(self.ready_timeout)
            except BaseException:
                self._clean_up(show=True)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.process.poll() is None:
                self.stop()
        except BaseException:
            kind = BaseException
            raise
        finally:
            self._clean_up(show=kind is not None)

    def _clean_up(self, *, show: bool) -> None:
        for pid in self.survivors():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=10)
        if show:
            print(f"---- {self!r} wrote:\n{self.output()}---- end of its output, exit code {self.process.returncode}")
        self.log_path.unlink(missing_ok=True)

    # ---- start and end

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until ``/readyz`` answers 200.

        Raises
        ------
        AssertionError
            If it does not within ``timeout`` seconds, or the server ends first.
        """
        wait_until(self._is_ready, f"/readyz of {self!r}", timeout=timeout)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"{self!r} ended early with exit code {self.process.returncode}"
        try:
            return self.get("/readyz", timeout=5.0).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self, signal_number: int = signal.SIGTERM, *, timeout: float = 40.0) -> int:
        """Send a signal, wait until the server ends, and return the exit code."""
        self.process.send_signal(signal_number)
        return self.wait(timeout)

    def wait(self, timeout: float = 40.0) -> int:
        """Wait until the server ends by itself, and return the exit code.

        Raises
        ------
        AssertionError
            If it is still running after ``timeout`` seconds.
        """
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self!r} still runs after {timeout} s; {self.survivors()=}") from None

    def survivors(self) -> list[int]:
        """Return the IDs of the live processes that the server has started, and its own.

        They are found by their session: workers create process groups of their own, but stay in the server's session.
        """
        return sorted(pid for pid in _live_pids() if _session_of(pid) == self.process.pid)

    # ---- requests

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Send one request on a new connection and read the whole response; ``timeout`` applies to each read."""
        started = time.monotonic()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, {**self.extra_headers, **(headers or {})})
            response = connection.getresponse()
            content = response.read()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, content, time.monotonic() - started)

    def get(self, path: str, **more: Any) -> Answer:
        """Send a GET request; ``more`` goes to ``request``."""
        return self.request("GET", path, **more)

    def post(
        self, path: str, body: bytes = b"", *, media_type: str = "application/octet-stream", **more: Any
    ) -> Answer:
        """Send a POST request; ``more`` goes to ``request``."""
        headers = {"Content-Type": media_type, **more.pop("headers", {})}
        return self.request("POST", path, body, headers=headers, **more)

    def post_json(self, path: str, value: Any, **more: Any) -> Answer:
        """Send a POST request with ``value`` as its JSON body; ``more`` goes to ``request``."""
        return self.post(path, json.dumps(value).encode(), media_type="application/json", **more)

    def connect(self, *, timeout: float = 30.0) -> socket.socket:
        """Return a plain socket connection, for clients that misbehave."""
        return socket.create_connection((self.host, self.port), timeout=timeout)

    def status(self) -> Any:
        """Return the document of ``/-/status``."""
        return self.get("/-/status").json()

    # ---- the log

    def output(self) -> str:
        """Return the output of the server and its workers so far.

        A thread of the server writes it, shortly after whatever the line is about. So this waits until nothing has been
        added for a moment, unless the server adds lines all the time.
        """
        text = self._read_log()
        for _ in range(MOST_LOOKS):
            time.sleep(SETTLE_SECONDS)
            before, text = text, self._read_log()
            if text == before:
                break
        return text

    def _read_log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_lines(self) -> list[str]:
        """Return the lines of ``output``."""
        return self.output().splitlines()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the event lines of ``--log-format json``, or only those whose ``event`` is ``name``."""
        found = [json.loads(line) for line in self.log_lines() if line.startswith("{") and line.endswith("}")]
        return [event for event in found if name is None or event.get("event") == name]

    def wait_for_line(self, text: str, *, timeout: float = 10.0) -> str:
        """Wait until a line of the log contains ``text``; return the first that does."""
        return wait_until(
            lambda: next((line for line in self.log_lines() if text in line), ""),
            f"a log line with {text!r}",
            timeout=timeout,
        )


def _live_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _session_of(pid: int) -> int | None:
    """Return the session of a process, or None if it has ended; a zombie counts as ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the command in parentheses, which may itself hold spaces and parentheses.
    state, _parent, _group, session = stat.rpartition(")")[2].split()[:4]
    return None if state == "Z" else int(session)
