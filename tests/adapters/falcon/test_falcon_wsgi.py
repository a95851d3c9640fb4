"""WSGI by hand: sockets, chunked bodies, and the server's own threads."""

from __future__ import annotations

import asyncio
import errno
import io
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

import falcon
import falcon.testing
import msgspec
import pytest

import penstock_falcon
from penstock import errors
from penstock.hooks import RequestAnswered, hookimpl
from penstock.hooks.registry import Registry
from penstock.policies import SMALL_BODY_BYTES
from penstock.response import Encoded
from penstock_falcon._wsgi import wsgi_service, wsgi_stream_body
from penstock_falcon._wsgi.wsgi_transport import read_input, run_to_end
from penstock_falcon.request_checks import BodyCollector
from tests.adapters.falcon.fake_engine import FakeCall, FakeThreadedEngine, keep, make_app

LIMIT_SECONDS = 10.0
BODY = b'{"input":4.0}'


@pytest.fixture
def engine() -> FakeThreadedEngine:
    return FakeThreadedEngine()


@pytest.fixture
def application(engine: FakeThreadedEngine) -> falcon.App:
    return penstock_falcon.wsgi(make_app(), engine=engine, max_body=100)


class Exchange:
    """One request, on a thread of its own as a server would have it."""

    def __init__(self, application: Any, path: str = "/square", body: bytes = BODY, **more: Any) -> None:
        env = falcon.testing.create_environ(path, method="POST", headers={"Content-Length": str(len(body))})
        self.env = {**env, "wsgi.input": io.BytesIO(body), **more}
        self.application = application
        self.status = ""
        self.response: Iterable[bytes] = ()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.response = self.application(self.env, self._start_response)

    def _start_response(self, status: str, headers: Any, exc_info: Any = None) -> None:
        self.status = status

    def run(self) -> Exchange:
        self.start().join()
        return self

    def start(self) -> Exchange:
        self.thread.start()
        return self

    def join(self) -> None:
        self.thread.join(LIMIT_SECONDS)
        assert not self.thread.is_alive()


class Submitted:
    """A script that keeps each call and says so to other threads."""

    def __init__(self, engine: FakeThreadedEngine) -> None:
        self._seen = threading.Event()
        self._calls: list[FakeCall] = []
        engine.script = self

    def __call__(self, call: FakeCall) -> None:
        self._calls.append(call)
        self._seen.set()

    def wait(self) -> FakeCall:
        assert self._seen.wait(LIMIT_SECONDS)
        return self._calls[0]


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("path", ["/square", "/count"])
def test_a_client_that_goes_away_cancels_its_job(
    application: Any, engine: FakeThreadedEngine, path: str, half: bool
) -> None:
    """The server's thread watches the client's socket while it waits; half a goodbye is one."""
    submitted = Submitted(engine)
    server, client = socket.socketpair()
    with server, client:
        body = BODY if path == "/square" else b'{"n":3}'
        exchange = Exchange(application, path, body, **{"gunicorn.socket": server}).start()
        call = submitted.wait()
        if half:
            client.shutdown(socket.SHUT_WR)
        else:
            client.close()
        exchange.join()
    assert call.cancelled_because == "the client went away"


def test_a_client_that_stays_gets_its_answer(application: Any, engine: FakeThreadedEngine) -> None:
    """A result that comes later wakes the waiting thread."""
    submitted = Submitted(engine)
    server, client = socket.socketpair()
    with server, client:
        exchange = Exchange(application, **{"gunicorn.socket": server}).start()
        submitted.wait().decide(Encoded(b"16"))
        exchange.join()
    assert (exchange.status[:3], list(exchange.response)) == ("200", [b"16"])


def test_chunks_come_as_they_arrive(application: Any, engine: FakeThreadedEngine) -> None:
    """One piece for all that is there; then the thread waits for more."""
    submitted = Submitted(engine)
    exchange = Exchange(application, "/count", b'{"n":3}').start()
    call = submitted.wait()
    call.begin_stream().yield_chunk(b"0")
    exchange.join()
    pieces = iter(exchange.response)
    assert next(pieces) == b"0\n"
    call.yield_chunk(b"1")
    call.yield_chunk(b"2")
    assert next(pieces) == b"1\n2\n"
    call.decide(Encoded(b""))
    assert list(pieces) == []


def test_a_failed_stream_says_so_and_never_ends_cleanly(application: Any, engine: FakeThreadedEngine) -> None:
    """After the error comes what a server takes for a connection that broke, so it does not write an end."""
    submitted = Submitted(engine)
    exchange = Exchange(application, "/count", b'{"n":3}').start()
    call = submitted.wait()
    call.begin_stream().yield_chunk(b"0")
    exchange.join()
    call.decide(errors.WorkerLost("its worker died"))
    pieces = iter(exchange.response)
    assert next(pieces).startswith(b'0\n{"error":{"message":"its worker died"')
    with pytest.raises(OSError) as cut:
        next(pieces)
    assert cut.value.errno == errno.ECONNRESET


def test_a_chunk_that_does_not_match_its_annotation_ends_the_stream_under_debug(engine: FakeThreadedEngine) -> None:
    """The chunks before it are sent, then an error that says why; the job is stopped."""
    submitted = Submitted(engine)
    application = penstock_falcon.wsgi(make_app(), engine=engine, debug=True)  # type: ignore[arg-type] # a fake
    exchange = Exchange(application, "/count", b'{"n":3}').start()
    call = submitted.wait()
    call.begin_stream().yield_chunk(b"0")
    exchange.join()
    call.yield_chunk(b'"one"')
    call.yield_chunk(b"2")
    pieces = iter(exchange.response)
    first, error = next(pieces).splitlines()
    assert first == b"0"
    assert "return annotation: Expected `int`, got `str`" in msgspec.json.decode(error)["error"]["message"]
    with pytest.raises(OSError):
        next(pieces)
    exchange.response.close()  # type: ignore[attr-defined]
    assert call.cancelled_because is not None


def test_a_closed_stream_stops_its_job(application: Any, engine: FakeThreadedEngine) -> None:
    """The server calls close() when the client has gone."""
    submitted = Submitted(engine)
    exchange = Exchange(application, "/count", b'{"n":3}').start()
    call = submitted.wait()
    call.begin_stream().yield_chunk(b"0")
    exchange.join()
    exchange.response.close()  # type: ignore[attr-defined]
    assert call.cancelled_because is not None


def test_silence_is_filled_with_comments(
    application: Any, engine: FakeThreadedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Server-sent events keep the connection alive while the job is silent."""
    monkeypatch.setattr(wsgi_stream_body, "KEEP_ALIVE_SECONDS", 0.005)
    submitted = Submitted(engine)
    exchange = Exchange(application, "/count", b'{"n":3}', HTTP_ACCEPT="text/event-stream").start()
    call = submitted.wait()
    call.begin_stream().yield_chunk(b"0")
    exchange.join()
    pieces = iter(exchange.response)
    assert [next(pieces) for _ in range(3)] == [b"data: 0\n\n", b": keep-alive\n\n", b": keep-alive\n\n"]
    call.decide(Encoded(b""))
    assert list(pieces) == [b"event: end\ndata: {}\n\n"]


# ---- bodies


class NeverRead:
    def read(self, *_: int) -> bytes:
        raise AssertionError("the body was touched")


@pytest.mark.parametrize(("length", "refusal", "status"), [("101", None, "413"), ("13", errors.QueueFull(), "503")])
def test_a_refusal_does_not_wait_for_the_body(
    application: Any, engine: FakeThreadedEngine, length: str, refusal: errors.QueueFull | None, status: str
) -> None:
    """A client that has sent only its headers is answered at once."""
    engine.refusal = refusal
    exchange = Exchange(application, **{"wsgi.input": NeverRead(), "CONTENT_LENGTH": length}).run()
    assert exchange.status[:3] == status


def test_a_body_cut_short_is_never_queued(application: Any, engine: FakeThreadedEngine) -> None:
    """Fewer bytes than announced are a 400."""
    exchange = Exchange(application, body=BODY[:5], CONTENT_LENGTH="13").run()
    assert (exchange.status[:3], engine.calls) == ("400", [])


def test_a_chunked_body_is_read_to_its_end() -> None:
    """Where the server says that the input ends by itself."""
    env = {"wsgi.input": io.BytesIO(BODY), "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    assert read_input(env, None, BodyCollector(100)) == BODY


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large() -> None:
    """Without reading the rest of it."""
    source = io.BytesIO(b"x" * 1_000_000)
    with pytest.raises(errors.PayloadTooLarge):
        read_input({"wsgi.input": source, "wsgi.input_terminated": True}, None, BodyCollector(100))
    assert source.tell() < 100_000


def test_a_chunked_body_without_an_end_is_refused() -> None:
    """If the server does not mark its end, reading would hang; the refusal says what to do."""
    with pytest.raises(errors.MalformedRequest, match="Content-Length"):
        read_input({"wsgi.input": NeverRead(), "HTTP_TRANSFER_ENCODING": "chunked"}, None, BodyCollector(100))


def test_a_body_that_breaks_off_is_malformed() -> None:
    """A server's own error for a broken chunk or a lost connection is the client's fault."""

    class Broken:
        def read(self, *_: int) -> bytes:
            raise OSError("invalid chunk size")

    with pytest.raises(errors.MalformedRequest):
        read_input({"wsgi.input": Broken(), "wsgi.input_terminated": True}, None, BodyCollector(100))


def test_the_flow_must_not_suspend() -> None:
    """Under WSGI there is no event loop to resume a coroutine, so one that suspends is an error, not a wait."""

    async def answer() -> int:
        return 16

    async def suspend() -> None:
        await asyncio.sleep(0)

    assert run_to_end(answer()) == 16
    with pytest.raises(RuntimeError, match="suspended"):
        run_to_end(suspend())


# ---- the engine


def test_many_first_requests_start_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is started by the first request, once, and stopped with the process."""
    engines: list[FakeThreadedEngine] = []
    everybody = threading.Barrier(4)

    def create(app: Any, **options: Any) -> FakeThreadedEngine:
        engines.append(FakeThreadedEngine())
        return engines[-1]

    monkeypatch.setattr(wsgi_service, "ThreadedEngine", create)
    service = penstock_falcon.wsgi(make_app()).penstock

    def start() -> None:
        everybody.wait(LIMIT_SECONDS)
        service.start()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_SECONDS)
    (engine,) = engines
    service.stop()
    assert engine.closed


def test_a_closed_engine_is_answered_and_recorded(engine: FakeThreadedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the engine's thread has ended, observers are called in the server's own."""
    answered: list[RequestAnswered] = []

    class Watcher:
        @hookimpl
        def penstock_observer(self) -> dict[Any, Callable[[Any], None]]:
            return {RequestAnswered: answered.append}

    def refuse(_function: Any) -> None:
        raise errors.EngineError("the engine is closed")

    engine.registry = Registry([Watcher()])
    engine.refusal = errors.Draining("the server has stopped")
    monkeypatch.setattr(engine, "run_soon", refuse)
    exchange = Exchange(penstock_falcon.wsgi(make_app(), engine=engine)).run()
    assert exchange.status[:3] == "503"
    assert [(record.status, record.code) for record in answered] == [(503, "draining")]
    assert engine.refused == ["draining"]


def test_a_given_engine_is_not_ended(application: Any, engine: FakeThreadedEngine) -> None:
    """An engine passed by the user is not stopped with the application."""
    engine.script = keep
    application.penstock.stop()
    assert (engine.draining, engine.closed) == (False, False)


@pytest.mark.parametrize("size", [SMALL_BODY_BYTES, SMALL_BODY_BYTES + 1])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_large_body_counts_from_its_announcement_until_it_has_arrived(
    engine: FakeThreadedEngine, size: int, is_whole: bool
) -> None:
    """It counts against the bound on queued bytes while the server's thread reads it; a small body does not."""
    application = penstock_falcon.wsgi(make_app(), engine=engine, max_body=size)
    engine.script = lambda call: call.decide(Encoded(b"1"))
    counts = []

    class Source(io.BytesIO):
        def read(self, limit: int | None = None, /) -> bytes:
            counts.append(engine.arriving_bytes)
            return super().read(limit)

    upload = Exchange(application, "/raw", bytes(size), **{"wsgi.input": Source(bytes(size if is_whole else size - 1))})
    upload.run()
    assert upload.status[:3] == ("200" if is_whole else "400")
    assert (counts, engine.arriving_bytes) == ([size if size > SMALL_BODY_BYTES else 0], 0)
