"""Shared code of the end-to-end tests: states to wait for, problem documents, clients that run in the background."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from tests.serving import Answer, Served, wait_until

# The limit for the lateness of an answer: the machine is shared, and other load must not fail a test.
LATENESS_SECONDS = 0.25
# The limit for the latency of a client beside a stuck one, with an empty queue and a handler that takes no time.
UNDISTURBED_SECONDS = 0.5
_PAUSE_SECONDS = 0.01
_READ_BYTES = 1 << 16

_numbers = itertools.count(1)


def new_id() -> str:
    """Return a request id that no other test uses."""
    return f"test-{os.getpid()}-{next(_numbers)}"


# ---- the status page and the log


def worker_pids(served: Served, pool: str) -> list[int]:
    """Wait until every place of the pool has a worker that can take work, and return their process ids."""

    def ready() -> list[int]:
        workers = served.status()["pools"][pool]["workers"]
        return [worker["pid"] for worker in workers] if all(w["state"] in ("ready", "busy") for w in workers) else []

    return wait_until(ready, f"all workers of pool {pool}")


def worker_pid(served: Served, pool: str) -> int:
    """Return the process id of the pool's one worker, as soon as it can take work."""
    (pid,) = worker_pids(served, pool)
    return pid


def wait_idle(served: Served, pool: str) -> None:
    """Wait until every worker of the pool is ready, and none holds an attempt."""

    def idle() -> bool:
        workers = served.status()["pools"][pool]["workers"]
        return all(worker["state"] == "ready" and not worker["attempts"] for worker in workers)

    wait_until(idle, f"pool {pool} to be idle")


def wait_running(served: Served, endpoint: str, count: int = 1) -> None:
    """Wait until ``count`` jobs of the endpoint are running."""
    wait_until(lambda: served.status()["endpoints"][endpoint]["running"] == count, f"{count} running in {endpoint}")


def wait_event(served: Served, name: str, **fields: Any) -> dict[str, Any]:
    """Wait for an event line with these fields (``--log-format json``), and return the first."""

    def found() -> dict[str, Any] | None:
        events = served.events(name)
        return next((event for event in events if fields.items() <= event.items()), None)

    return wait_until(found, f"an event {name} with {fields}") or {}


def instant(event: Mapping[str, Any]) -> float:
    """Return when an event was written, in seconds since the epoch."""
    return datetime.fromisoformat(event["time"]).timestamp()


def seconds_between(sooner: Mapping[str, Any], later: Mapping[str, Any]) -> float:
    """Return the time between two events: the log has whole milliseconds, which floats since the epoch do not keep."""
    return round(instant(later) - instant(sooner), 3)


# ---- answers


def assert_problem(answer: Answer, code: str, status: int, *, retry: bool) -> dict[str, Any]:
    """Check that the answer is the problem document of an error, with all the headers that go with it."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-should-retry"] == ("true" if retry else "false")
    if status in (429, 503):
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    else:
        assert "retry-after" not in answer.headers
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:penstock:{code}"
    assert document["status"] == status
    assert document["instance"] == answer.headers["x-request-id"]
    assert document["error"]["code"] == code
    assert document["error"]["message"] == document["detail"]
    assert document["error"]["type"] == ("timeout_error" if status == 504 else "server_error")
    assert document["title"]
    return document


def assert_on_time(seconds: float, deadline: float) -> None:
    """Check that an answer that was due at ``deadline`` came no sooner, and hardly later."""
    assert deadline <= seconds < deadline + LATENESS_SECONDS


@dataclass(frozen=True)
class Streamed:
    """A stream as it came: its lines with the seconds from the request to each, and whether it ended as a whole one."""

    status: int
    headers: dict[str, str]
    lines: list[str]
    arrivals: list[float]
    is_whole: bool
    seconds: float

    def values(self) -> list[Any]:
        """Return the JSON values of the lines of NDJSON."""
        return [json.loads(line) for line in self.lines]


def read_stream(
    served: Served, path: str, value: Any, *, on_first_line: Callable[[], object] | None = None, **headers: str
) -> Streamed:
    """Post a JSON body and read the response piece by piece, to its end or to where it is cut off."""
    started = time.monotonic()
    connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
    headers = {"Content-Type": "application/json", **headers}
    lines: list[str] = []
    arrivals: list[float] = []
    rest = b""
    is_whole = True
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(value).encode(), headers)
        response = connection.getresponse()
        try:
            while piece := response.read1(_READ_BYTES):
                *complete, rest = (rest + piece).split(b"\n")
                if complete and not lines and on_first_line is not None:
                    on_first_line()
                lines += [line.decode() for line in complete]
                arrivals += [time.monotonic() - started] * len(complete)
        except (http.client.IncompleteRead, ConnectionResetError):
            is_whole = False
    assert not rest, f"the stream ends within a line: {rest!r}"
    names = {name.lower(): value for name, value in response.getheaders()}
    return Streamed(response.status, names, lines, arrivals, is_whole, time.monotonic() - started)


# ---- clients side by side


@contextlib.contextmanager
def in_background() -> Iterator[Callable[..., Future[Any]]]:
    """Give a function that calls another in a thread of its own; whatever they raise is raised by their futures."""
    with ThreadPoolExecutor(16) as executor:
        yield executor.submit


class SteadyClient:
    """A client that asks for small things one after another, for as long as the ``with`` block lasts.

    At its end each answer must have been a 200, and quick.
    """

    def __init__(self, served: Served, path: str) -> None:
        self._served = served
        self._path = path
        self._stopping = threading.Event()
        self._statuses: set[int] = set()
        self._seconds: list[float] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        connection = http.client.HTTPConnection(self._served.host, self._served.port, timeout=10)
        with contextlib.closing(connection):
            try:
                while not self._stopping.wait(_PAUSE_SECONDS):
                    self._ask(connection)
            except Exception as error:  # raised in the test's own thread
                self._error = error

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        started = time.monotonic()
        connection.request("POST", self._path, b"{}", {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        self._statuses.add(response.status)
        self._seconds.append(time.monotonic() - started)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        if kind is None:
            assert self._error is None
            assert self._statuses == {200}, f"{self._path} was disturbed"
            assert max(self._seconds) < UNDISTURBED_SECONDS, f"{self._path} was held up"
