"""An engine without workers: the test decides the outcome of every call, and when it arrives."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec

from penstock.app import App, Endpoint
from penstock.context import Context
from penstock.errors import Cancelled, Draining, PenstockError
from penstock.hooks.records import JobAnswered
from penstock.hooks.registry import Registry
from penstock.hooks.services import OnReport
from penstock.hooks.submission import Submission
from penstock.hosting import AsyncioReactor, RouteCalls
from penstock.policies import Timeouts
from penstock.response import Encoded
from penstock.wire import InputForm, Progress


def make_app() -> App:
    """Return an app with one endpoint of each kind that adapters distinguish."""
    app = App(__name__)

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/count", timeouts=Timeouts(idle=0.02))
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    @app.endpoint("/raw")
    def raw(body: bytes) -> bytes:
        return body

    @app.endpoint("/whoami")
    def whoami(context: Context) -> str:
        return context.headers["user-agent"]

    return app


JSON_STREAM = Encoded(b"")
"""The head of a stream of JSON values."""


class FakeCall:
    """A call that the test drives by hand."""

    def __init__(self, endpoint: Endpoint, body: bytes, request_id: str, headers: dict[str, str] | None) -> None:
        self.endpoint = endpoint
        self.timeouts = endpoint.timeouts
        self.body = body
        self.request_id = request_id
        self.headers = headers
        self.input_form: InputForm | None = None
        self.job_memo: bytes | None = None
        self.head: Encoded | None = None
        self.outcome: Encoded | PenstockError | None = None
        self.queue_seconds: float | None = None
        self.execution_seconds: float | None = None
        self.attempts = 1
        self.elapsed = 0.0
        self.on_progress: Callable[[], None] | None = None
        self.on_report: OnReport | None = None
        self.cancelled_because: str | None = None
        self._chunks: list[bytes] = []
        self._waiters: list[asyncio.Future[None]] = []

    def begin_stream(self, head: Encoded = JSON_STREAM) -> FakeCall:
        """Begin to answer in chunks; return the call."""
        self.head = head
        return self

    def yield_chunk(self, chunk: bytes) -> None:
        """Add a chunk of the stream."""
        assert self.head is not None, "the stream has not begun"
        self._chunks.append(chunk)
        self._progress()

    def report(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress; there must be a listener."""
        assert self.on_report is not None, "no caller wants reports"
        self.on_report(Progress(1, done, total, message))

    def notify(self) -> None:
        """Wake the caller, for a report."""
        self._progress()

    def decide(self, outcome: Encoded | PenstockError) -> None:
        """Set the outcome; only the first one counts."""
        if self.outcome is None:
            self.outcome = outcome
            self._progress()

    @property
    def has_chunks(self) -> bool:
        """True while there are chunks to take."""
        return bool(self._chunks)

    def take(self, limit_bytes: int | None = None) -> list[bytes]:
        """Return the chunks that have arrived since the last call; they are too small for the limit to matter."""
        chunks, self._chunks = self._chunks, []
        return chunks

    async def wait(self) -> None:
        """Wait until there is an outcome, a chunk or a report."""
        if self.outcome is None and not self._chunks:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def cancel(self, reason: str = "cancelled") -> None:
        """Cancel the call, for a caller that has gone."""
        if self.outcome is None:
            self.cancelled_because = reason
            self.decide(Cancelled(reason))

    def _progress(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self.on_progress is not None:
            self.on_progress()


class FakeThreadedCall(FakeCall):
    """A ``FakeCall`` with a descriptor to wait for, usable from several threads."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lock = threading.Lock()
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)

        self.closed = False

    def close(self) -> None:
        """Cancel it if it is undecided, and free the descriptors."""
        assert not self.closed
        self.cancel("closed")
        self.closed = True
        os.close(self._readable)
        os.close(self._writable)

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is progress; ``take`` clears it."""
        return self._readable

    def take(self, limit_bytes: int | None = None) -> list[bytes]:
        """Return the chunks that have arrived since the last call."""
        with self._lock:
            try:
                if not self.closed:
                    os.read(self._readable, 4096)
            except BlockingIOError:
                pass
            return super().take(limit_bytes)

    def yield_chunk(self, chunk: bytes) -> None:
        """Add a chunk of the stream."""
        with self._lock:
            super().yield_chunk(chunk)

    def _progress(self) -> None:
        if not self.closed:
            os.write(self._writable, b"!")


class FakeEngine:
    """An engine that passes every call to ``script``, which may decide it at once or keep it for later.

    Attributes
    ----------
    refusal:
        Raised by ``check_room``; None if there is room.
    calls:
        The submitted calls.
    arriving_bytes:
        The size of the large bodies that are arriving.
    refused:
        The error codes of the requests that were refused before they could become a job.
    """

    call_class: type[FakeCall] = FakeCall

    def bound_bodies(self, most_bytes: int) -> None:
        """Do nothing: no body waits here."""

    def __init__(self, script: Callable[[FakeCall], None] | None = None, registry: Registry | None = None) -> None:
        self.registry = registry or Registry()
        self.refused: list[str] = []
        self.script = script or answer_square
        self.refusal: PenstockError | None = None
        self.calls: list[FakeCall] = []
        self.arriving_bytes = 0
        self.reasons: list[str] = []
        self.status_page = SimpleNamespace()
        self.draining = False
        self.closed = False
        self.started = False
        self.on_drained: Callable[[], None] | None = None
        self.on_pools_failed: Callable[[str], None] | None = None
        self._reactor: Any = None
        self.route_calls = RouteCalls(self)  # type: ignore[arg-type] # it has what is used of an engine

    @property
    def reactor(self) -> Any:
        """The reactor that the test has set, or that of the running loop."""
        return self._reactor or AsyncioReactor()

    @reactor.setter
    def reactor(self, reactor: Any) -> None:
        self._reactor = reactor

    def start(self) -> None:
        """Note that it was started."""
        self.started = True

    def check_room(self, endpoint: Endpoint) -> None:
        """Raise the refusal that the test has set."""
        if self.refusal is not None:
            raise self.refusal
        if self.draining:
            raise Draining("the server is shutting down")

    def begin_upload(self, endpoint: Endpoint, size_bytes: int) -> Callable[[], None]:
        """Refuse it as ``check_room`` does, or count it."""
        self.check_room(endpoint)
        self.arriving_bytes += size_bytes

        def end() -> None:
            self.arriving_bytes -= size_bytes

        return end

    def submit(
        self,
        submission: Submission,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        on_report: OnReport | None = None,
    ) -> FakeCall:
        """Submit a job."""
        self.check_room(submission.endpoint)
        call = self.call_class(submission.endpoint, body, submission.request_id, headers)
        call.elapsed = submission.elapsed
        call.input_form = submission.input_form
        call.job_memo = submission.job_memo
        call.on_report = on_report
        self.calls.append(call)
        self.script(call)
        return call

    def refuse(self, submission: Submission, error: PenstockError) -> None:
        """Note the refusal, and release the policies."""
        self.refused.append(error.code)
        submission.close(
            JobAnswered(endpoint=submission.endpoint.name, request_id=submission.request_id, code=error.code)
        )

    def unready_reasons(self) -> list[str]:
        """Return the reasons that the test has set."""
        return self.reasons

    def status(self) -> dict[str, Any]:
        """Return a small status document."""
        return {"pools": [], "workers": [], "endpoints": [{"name": "square", "queued": 0}]}

    def drain(
        self, timeout: float, on_drained: Callable[[], None] | None = None, *, who: str = "", why: str = ""
    ) -> None:
        """Begin to drain; this is over at once unless a call is open."""
        self.draining = True
        self.on_drained = on_drained
        if on_drained is not None and all(call.outcome is not None for call in self.calls):
            on_drained()

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


class FakeThreadedEngine(FakeEngine):
    """A ``FakeEngine`` for WSGI, with one thread for all."""

    call_class = FakeThreadedCall

    @property
    def engine(self) -> FakeThreadedEngine:
        """The engine inside: this one."""
        return self

    def run(self, function: Callable[[], Any]) -> Any:
        """Run the function in this thread."""
        return function()

    def run_soon(self, function: Callable[[], Any]) -> None:
        """Run the function in this thread."""
        function()


def answer_square(call: FakeCall) -> None:
    """Decide the call at once, as ``POST /square`` would."""
    call.queue_seconds, call.execution_seconds = 0.001, 0.0025
    number = msgspec.json.decode(call.body)["input"]
    call.decide(Encoded(msgspec.json.encode(number**2)))


def keep(call: FakeCall) -> None:
    """Leave the call to the test."""
