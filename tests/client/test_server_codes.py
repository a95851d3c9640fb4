"""Every error code of the server, caught by the class of the same name: from real servers, and by script."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

import penstock.errors
from penstock_client import Client, Retries, errors
from tests.client.drivers import DRIVERS, Act, call, one
from tests.client.scripted_server import ScriptedServer, answer
from tests.serving import ROOT, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

KEY = "alices-key-of-some-length"
SHUTDOWN_KEY = "q7Zr0yDkT3vW8uXeB1nHs5LmJa9GcPf2oRiY6tVwEdU"
ONCE = Retries(max_attempts=1)

APP = """
    import os
    import time

    from penstock import App, Timeouts
    from penstock.errors import DeadlineExceeded, Unavailable
    from penstock.hooks import hookimpl

    class Breaking:
        name = "breaking"

        @hookimpl
        def penstock_admission_policy(self, endpoint):
            return self.fail if endpoint.name == "hooked" else None

        def fail(self, submission):
            raise RuntimeError("no")

    app = App(
        __name__,
        plugins=[Breaking],
        settings={
            "auth": {"scopes": {"secret": ["spies"]}},
            "breaker": {"enabled": True, "min_calls": 20, "open_seconds": 60},
            "ratelimit": {"endpoints": {"limited": {"requests": ["1/hour"]}}},
        },
    )

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/secret")
    def secret() -> None: ...

    @app.endpoint("/limited")
    def limited() -> None: ...

    @app.endpoint("/hooked")
    def hooked() -> None: ...

    @app.endpoint("/fail")
    def fail() -> None:
        raise ValueError("no")

    @app.endpoint("/broken")
    def broken() -> None:
        raise ValueError("no")

    @app.endpoint("/tired")
    def tired() -> None:
        raise Unavailable("the index is being rebuilt", retry_after=1)

    @app.endpoint("/late")
    def late() -> None:
        raise DeadlineExceeded("the upstream service took too long")

    @app.endpoint("/die", idempotent=False)
    def die() -> None:
        os._exit(1)

    @app.endpoint("/slow", timeouts=Timeouts(execution=0.2))
    def slow() -> None:
        time.sleep(2)

    @app.endpoint("/sleep", timeouts=Timeouts(total=0.3))
    def sleep() -> None:
        time.sleep(2)

    @app.endpoint("/busy", pool="busy", max_queue=1, timeouts=Timeouts(queue=0.3))
    async def busy(seconds: float) -> None:
        import trio
        await trio.sleep(seconds)
"""

PLAIN = """
    from penstock import App

    app = App(__name__)

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    environment = {"PENSTOCK_AUTH_KEYS": f"alice:observer={KEY}", "PENSTOCK_SHUTDOWN_KEY": SHUTDOWN_KEY}
    app = write_app(tmp_path_factory.mktemp("app"), APP)
    with Served(app, "--max-body", "64KiB", "--body-timeout", "0.5", environment=environment) as server:
        yield server


def met(driver: str, url: str, act: Act, *, key: str | None = KEY) -> Any:
    return one(driver, url, act, key=key, retries=ONCE)


# ---- how each is provoked


def rate_limited(driver: str, served: Served) -> Any:
    return wait_until(lambda: failure(met(driver, served.base_url, call("limited", {}))), "the limit")


def circuit_open(driver: str, served: Served) -> Any:
    """Fail until the server's own breaker opens."""

    def is_open() -> Any:
        error = met(driver, served.base_url, call("broken", {}))
        return None if isinstance(error, errors.HandlerError) else error

    return wait_until(is_open, "an open circuit")


def queue_full(driver: str, served: Served) -> Any:
    with occupied(served, jobs=2):
        return wait_until(lambda: failure(met(driver, served.base_url, call("busy", {"seconds": 0}))), "a full queue")


def queue_timeout(driver: str, served: Served) -> Any:
    with occupied(served, jobs=1):
        return met(driver, served.base_url, call("busy", {"seconds": 0}))


@contextlib.contextmanager
def occupied(served: Served, jobs: int) -> Iterator[None]:
    """Keep the one worker of the endpoint busy, and its queue filled with the other jobs."""
    with Client(served.base_url, key=KEY, retries=ONCE) as client, ThreadPoolExecutor(jobs) as threads:
        running = []
        for number in range(1, jobs + 1):
            running.append(threads.submit(failure_of, client, 0.8))
            wait_until(lambda number=number: jobs_of(served) >= number, "the job")
        yield
        for future in running:
            future.result()


def jobs_of(served: Served) -> int:
    endpoint = served.get("/-/status", headers={"Authorization": f"Bearer {KEY}"}).json()["endpoints"]["busy"]
    return int(endpoint["queued"] + endpoint["running"])


def failure_of(client: Client, seconds: float) -> Any:
    with contextlib.suppress(errors.ClientError):
        client.call("busy", {"seconds": seconds})


def draining(driver: str, served: Served) -> Any:
    """Take the server out of rotation, and put it back."""
    headers = {"Authorization": f"Bearer {SHUTDOWN_KEY}"}
    assert served.post("/-/drain", headers=headers).status == 200
    try:
        return met(driver, served.base_url, call("square", {"input": 1}))
    finally:
        assert served.post("/-/undrain", headers=headers).status == 200


def request_timeout(driver: str, served: Served) -> Any:
    """Hold the end of the body back, on its way to the server."""
    with HoldingRelay(served.port) as relay:
        return met(driver, relay.url, call("square", {"input": 1}))


class HoldingRelay:
    """Passes one connection on to a server, without the last byte of what the client sends."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.close()
        self._thread.join(10)

    def _pass_on(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            with client, socket.create_connection(("127.0.0.1", self._port), timeout=10) as server:
                request = b""
                while not request.endswith(b"}"):  # the end of the body
                    request += client.recv(65536)
                server.sendall(request[:-1])
                while piece := server.recv(65536):
                    client.sendall(piece)


def failure(found: Any) -> Any:
    return found if isinstance(found, Exception) else None


def plainly(act: Act, *, key: str | None = KEY) -> Callable[[str, Served], Any]:
    return lambda driver, served: met(driver, served.base_url, act, key=key)


@dataclass(frozen=True)
class Case:
    """The way to an error, and its two facts for a call that must not run twice."""

    provoke: Callable[[str, Served], Any]
    may_have_run: bool = False
    retryable: bool = False


NOT_JSON = {"content-type": "application/json"}
PROVOKED = {
    "InvalidRequest": Case(plainly(call("square", {"input": "x"}))),
    "MalformedRequest": Case(plainly(call("square", b"{", headers=NOT_JSON))),
    "Unauthorized": Case(plainly(call("square", {"input": 1}), key=None)),
    "Forbidden": Case(plainly(call("secret", {}))),
    "NotFound": Case(plainly(call("nothing", {}))),
    "MethodNotAllowed": Case(plainly(call("square", method="DELETE"))),
    "RequestTimeout": Case(request_timeout, retryable=True),
    "PayloadTooLarge": Case(plainly(call("square", {"input": "x" * 100_000}))),
    "UnsupportedMediaType": Case(plainly(call("square", b"1"))),
    "RateLimited": Case(rate_limited, retryable=True),
    "HandlerError": Case(plainly(call("fail", {})), may_have_run=True),
    "HookError": Case(plainly(call("hooked", {})), may_have_run=True),
    "Unavailable": Case(plainly(call("tired", {})), retryable=True),
    "QueueFull": Case(queue_full, retryable=True),
    "QueueTimeout": Case(queue_timeout, retryable=True),
    # No repeated request could be in time, as the server says by header.
    "DeadlineInfeasible": Case(plainly(call("square", {"input": 1}, headers={"x-request-timeout": "0"}))),
    "CircuitOpen": Case(circuit_open, retryable=True),
    "Draining": Case(draining, retryable=True),
    "WorkerLost": Case(plainly(call("die", {})), may_have_run=True),
    "DeadlineExceeded": Case(plainly(call("late", {})), may_have_run=True),
    "ExecutionTimeout": Case(plainly(call("slow", {})), may_have_run=True),
    "TotalTimeout": Case(plainly(call("sleep", {})), may_have_run=True),
}
APART = {
    "NotReady": "it needs a server whose engine is gone: see the test below",
    "Cancelled": "the server answers so only to clients that have hung up, which read no answer",
}
NOT_SENT = {
    "PenstockError": "the base, whose code is that of no response",
    "DeclarationError": "raised at import",
    "PluginError": "raised at start-up",
    "EngineError": "raised in the program that runs the engine",
    "Retryable": "raised by handlers; callers see a handler-error",
}
SERVERS = {name for name, _ in inspect.getmembers(penstock.errors, inspect.isclass)}


def test_each_error_of_the_server_is_provoked_here() -> None:
    """An error that is added to the server needs a case, or a reason why there is none, and a class of the client."""
    assert PROVOKED.keys() | APART.keys() | NOT_SENT.keys() == SERVERS
    assert {name for name in PROVOKED.keys() | APART.keys() if not hasattr(errors, name)} == set()


def test_each_code_of_the_table_is_known() -> None:
    """A code that is added to ``docs/how-to/errors.md`` has a class in the client."""
    text = (ROOT / "docs" / "how-to" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \| (\d{3})", text, re.MULTILINE)
    listed = {code for names, _ in rows for code in re.findall(r"`([a-z-]+)`", names)}
    ours = {kind.code for _, kind in inspect.getmembers(errors, inspect.isclass) if hasattr(kind, "code")}
    assert len(listed) > 15
    assert listed - ours == set()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("name", PROVOKED)
def test_each_error_of_a_real_server_is_caught_by_its_name(served: Served, driver: str, name: str) -> None:
    """Its class, code and status are the server's, and it says whether the work may have run and may be sent again."""
    case, theirs = PROVOKED[name], getattr(penstock.errors, name)
    error = case.provoke(driver, served)
    assert isinstance(error, getattr(errors, name)), repr(error)
    assert isinstance(error, errors.ResponseError)
    assert (error.server_code, error.status, error.code) == (theirs.code, theirs.status, theirs.code)
    assert (error.may_have_run, error.retryable) == (case.may_have_run, case.retryable)
    assert [attempt.outcome for attempt in error.attempts] == [f"{theirs.status} {theirs.code}"]
    assert error.request_id
    assert (error.retry_after is not None) == (theirs.status in {429, 503})


def test_a_server_without_its_engine_is_not_ready(tmp_path: Path) -> None:
    """Its HTTP processes refuse everything until there is another engine; nothing has run."""
    app = write_app(tmp_path, PLAIN)
    with Served(app, "--http-workers", "2", environment={"TMPDIR": str(tmp_path)}) as served:
        wait_until(lambda: len(served.status()["hosts"]) == 2, "both HTTP processes")
        engine = int(served.status()["engine_pid"])
        os.kill(served.process.pid, signal.SIGSTOP)  # the master starts no other engine meanwhile
        try:
            os.kill(engine, signal.SIGKILL)
            wait_until(lambda: served.get("/readyz").status == 503, "the processes to notice")
            found = [met(driver, served.base_url, call("square", {"input": 1})) for driver in DRIVERS]
        finally:
            os.kill(served.process.pid, signal.SIGCONT)
        for error in found:
            assert isinstance(error, errors.NotReady)
            assert (error.may_have_run, error.retryable, error.status) == (False, True, 503)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_request_that_is_late_for_its_own_deadline_has_not_run(served: Served, driver: str) -> None:
    """The server forbids another request, for which no time is left; that does not make it one that may have run."""
    with HoldingRelay(served.port) as relay:
        error = met(driver, relay.url, call("square", {"input": 1}, headers={"x-request-timeout": "0.2"}))
    assert isinstance(error, errors.RequestTimeout)
    assert (error.may_have_run, error.retryable, error.retries_refused) == (False, False, "rule")


# ---- by script


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("name", sorted(SERVERS - NOT_SENT.keys()))
def test_each_code_in_an_answer_is_its_class(driver: str, name: str) -> None:
    """A problem document with the code is enough, with each driver."""
    theirs = getattr(penstock.errors, name)
    body = f'{{"type": "urn:penstock:{theirs.code}", "title": "no", "status": {theirs.status}}}'.encode()
    with ScriptedServer([(answer(body, status=theirs.status, media_type="application/problem+json"),)]) as server:
        error = met(driver, server.url, call())
    assert isinstance(error, getattr(errors, name))
    assert (error.server_code, error.status, str(error)) == (theirs.code, theirs.status, f"{theirs.status}: no")
