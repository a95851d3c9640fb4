"""ASGI by hand: details of a server's ``receive`` and ``send`` that a test client hides."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import falcon.asgi
import msgspec
import pytest

import penstock_falcon
from penstock import App, Timeouts, errors
from penstock.policies import SMALL_BODY_BYTES
from penstock.response import Encoded
from penstock_falcon._asgi import asgi_service
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine, keep, make_app

LIMIT_SECONDS = 10.0
BODY = b'{"input":4.0}'
COUNT = b'{"n":3}'
DISCONNECT = {"type": "http.disconnect"}


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


class Exchange:
    """One request, driven by hand: a server that does only what the test says."""

    def __init__(self, application: Any, path: str = "/square", *events: dict[str, Any], **headers: str) -> None:
        self.application = application
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for event in events:
            self.inbox.put_nowait(event)
        self.receive_calls = 0
        self.sent: list[dict[str, Any]] = []
        self.readable = asyncio.Event()
        self.readable.set()
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode("utf-8", "surrogatepass"),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }

    async def receive(self) -> dict[str, Any]:
        self.receive_calls += 1
        return await self.inbox.get()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        await self.readable.wait()

    async def run(self) -> None:
        await self.application(self.scope, self.receive, self.send)

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.run())

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def bodies(self) -> list[bytes]:
        return [message.get("body", b"") for message in self.sent[1:]]

    @property
    def ended_cleanly(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", False) and len(self.sent) > 1


async def until(condition: Callable[[], Any]) -> None:
    """Let other tasks run until a condition holds; the time limit is that of the test."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event to set
        await asyncio.sleep(0.001)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            await test()
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"the adapter left tasks behind: {left}"

    asyncio.run(bounded())


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def application(engine: FakeEngine) -> falcon.asgi.App:
    return penstock_falcon.asgi(make_app(), engine=engine, max_body=100)


# ---- bodies


@pytest.mark.parametrize(
    ("headers", "refusal", "status"),
    [
        ({"content_length": "101"}, None, 413),
        ({"content_type": "text/plain"}, None, 415),
        ({"content_length": "13"}, errors.QueueFull(), 503),
        ({}, errors.QueueFull(), 503),
    ],
)
def test_a_refusal_does_not_wait_for_the_body(
    application: Any, engine: FakeEngine, headers: dict[str, str], refusal: errors.QueueFull | None, status: int
) -> None:
    """A client that has sent only its headers is answered at once, and the server is never asked for the body."""
    engine.refusal = refusal

    async def test() -> None:
        exchange = Exchange(application, "/square", **headers)
        await exchange.run()
        assert (exchange.status, exchange.receive_calls) == (status, 0)

    run(test)


def test_a_body_may_come_in_pieces(application: Any, engine: FakeEngine) -> None:
    """Pieces are joined, empty ones too."""

    async def test() -> None:
        exchange = Exchange(
            application,
            "/square",
            piece(b"", more=True),
            piece(BODY[:5], more=True),
            piece(BODY[5:], more=True),
            piece(b""),
        )
        await exchange.run()
        assert (exchange.status, engine.calls[0].body) == (200, BODY)

    run(test)


@pytest.mark.parametrize("events", [[piece(b"x" * 101)], [piece(b"x" * 60, more=True), piece(b"x" * 60, more=True)]])
def test_a_body_of_unknown_length_is_refused_as_soon_as_it_is_too_large(
    application: Any, engine: FakeEngine, events: list[dict[str, Any]]
) -> None:
    """A chunked body past the limit is a 413 without reading the rest."""

    async def test() -> None:
        exchange = Exchange(application, "/square", *events, transfer_encoding="chunked")
        await exchange.run()
        assert (exchange.status, exchange.receive_calls, engine.calls) == (413, len(events), [])

    run(test)


@pytest.mark.parametrize("events", [[piece(BODY[:5], more=True), DISCONNECT], [DISCONNECT], [piece(BODY[:5])]])
def test_a_body_cut_short_is_never_queued(application: Any, engine: FakeEngine, events: list[dict[str, Any]]) -> None:
    """A client that goes away in the middle, or sends less than it announced, has made no request."""

    async def test() -> None:
        exchange = Exchange(application, "/raw", *events, content_length="13")
        await exchange.run()
        assert (exchange.status, engine.calls) == (400, [])

    run(test)


class Connection:
    """A client's connection, as our own server shows it."""

    def __init__(self, *, seconds_ago: float) -> None:
        self.request_began: float | None = monotonic() - seconds_ago
        self.write_idle = 0.0
        self.stream = None
        self.is_last = False

    def take_begun(self) -> None:
        return None

    def end_after_response(self) -> None:
        self.is_last = True


def limited(engine: FakeEngine, total: float) -> falcon.asgi.App:
    """Return an application whose only endpoint has a total time."""
    app = App(__name__)

    @app.endpoint("/hasty", timeouts=Timeouts(total=total, idle=3.0))
    def hasty(body: bytes) -> bytes:
        return body

    return penstock_falcon.asgi(app, engine=engine)


@pytest.mark.parametrize("events", [[], [piece(b"x", more=True)]])
def test_an_upload_ends_at_the_deadline(engine: FakeEngine, events: list[dict[str, Any]]) -> None:
    """Under any server, a body that has not arrived in full at the deadline is a 408, and never becomes a job."""

    async def test() -> None:
        exchange = Exchange(limited(engine, 0.05), "/hasty", *events)
        await exchange.run()
        assert (exchange.status, exchange.headers[b"connection"], engine.calls) == (408, b"close", [])
        assert engine.refused == ["request-timeout"]

    run(test)


def test_an_upload_ends_at_the_deadline_although_its_server_swallows_a_cancellation(engine: FakeEngine) -> None:
    """As ``asyncio.wait_for`` does before Python 3.12, if a piece of the body comes at that moment."""

    class Swallowing(Exchange):
        has_swallowed = False

        async def receive(self) -> dict[str, Any]:
            try:
                return await super().receive()
            except asyncio.CancelledError:
                if self.has_swallowed:
                    raise
                self.has_swallowed = True
                return piece(b"x", more=True)

    async def test() -> None:
        exchange = Swallowing(limited(engine, 0.02), "/hasty")
        task = exchange.start()
        await task
        assert (exchange.has_swallowed, exchange.status, engine.calls) == (True, 408, [])
        assert task.cancelling() == 0

    run(test)


def test_a_cancelled_upload_is_not_taken_for_a_late_one(engine: FakeEngine) -> None:
    """A server that cancels a request in the middle of its body gets its cancellation back."""

    async def test() -> None:
        task = Exchange(limited(engine, 30.0), "/hasty", piece(b"x", more=True)).start()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.calls == []

    run(test)


def test_the_time_of_the_head_counts_against_the_total(engine: FakeEngine) -> None:
    """A server that knows when the first byte came is believed, and learns how long a response may be unread."""
    engine.script = lambda call: call.decide(Encoded(b"x"))

    async def test() -> None:
        for seconds_ago, status, idle in ((15.0, 200, 3.0), (31.0, 408, 0.0)):
            exchange = Exchange(limited(engine, 30.0), "/hasty", piece(b"x"), host="test")
            connection = exchange.scope["penstock.connection"] = Connection(seconds_ago=seconds_ago)
            await exchange.run()
            assert (exchange.status, connection.is_last, connection.write_idle) == (status, status == 408, idle)
        (call,) = engine.calls
        assert 15.0 <= call.elapsed < 30.0

    run(test)


def test_an_odd_query_string_is_no_error(application: Any) -> None:
    """Bytes outside ASCII are harmless in a query that no endpoint reads."""

    async def test() -> None:
        exchange = Exchange(application, "/square", piece(BODY))
        exchange.scope["query_string"] = b"a=\xff\xfe"
        await exchange.run()
        assert exchange.status == 200

    run(test)


# ---- hang-ups


def test_a_job_that_is_over_soon_costs_no_listener(application: Any) -> None:
    """For a quick answer the server is asked for the body and for nothing else."""

    async def test() -> None:
        exchange = Exchange(application, "/square", piece(BODY))
        await exchange.run()
        assert (exchange.receive_calls, exchange.ended_cleanly) == (1, True)

    run(test)


@pytest.mark.parametrize("path", ["/square", "/count"])
def test_a_client_that_goes_away_cancels_its_job(application: Any, engine: FakeEngine, path: str) -> None:
    """A client may leave before a result or before a first chunk; a last empty piece of the body is not a hang-up."""
    engine.script = keep

    async def test() -> None:
        exchange = Exchange(application, path, piece(BODY if path == "/square" else COUNT))
        task = exchange.start()
        await until(lambda: exchange.receive_calls == 2)
        exchange.inbox.put_nowait(piece(b""))
        await until(lambda: exchange.receive_calls == 3)
        assert engine.calls[0].cancelled_because is None
        exchange.inbox.put_nowait(DISCONNECT)
        await task
        assert engine.calls[0].cancelled_because == "the client went away"

    run(test)


def test_nobody_listens_after_the_answer(application: Any, engine: FakeEngine) -> None:
    """The next request's events on the connection are not swallowed."""
    engine.script = keep

    async def test() -> None:
        exchange = Exchange(application, "/square", piece(BODY))
        task = exchange.start()
        await until(lambda: exchange.receive_calls == 2)
        engine.calls[0].decide(Encoded(b"16"))
        await task
        exchange.inbox.put_nowait(DISCONNECT)
        await asyncio.sleep(0)
        assert (exchange.status, exchange.inbox.qsize()) == (200, 1)

    run(test)


@pytest.mark.parametrize("path", ["/square", "/count"])
def test_a_cancelled_request_cancels_its_job(application: Any, engine: FakeEngine, path: str) -> None:
    """A server that abandons a request stops its job too."""
    engine.script = keep

    async def test() -> None:
        task = Exchange(application, path, piece(BODY if path == "/square" else COUNT)).start()
        await until(lambda: engine.calls)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.calls[0].cancelled_because is not None

    run(test)


# ---- streams


def streaming(application: Any, engine: FakeEngine, **headers: str) -> tuple[Exchange, asyncio.Task[None]]:
    engine.script = keep
    exchange = Exchange(application, "/count", piece(COUNT), **headers)
    return exchange, exchange.start()


async def started(engine: FakeEngine, exchange: Exchange, chunk: bytes = b"0") -> FakeCall:
    await until(lambda: engine.calls)
    call = engine.calls[0]
    call.begin_stream().yield_chunk(chunk)
    await until(lambda: len(exchange.sent) > 1)
    return call


def test_a_stream_starts_at_its_first_chunk(application: Any, engine: FakeEngine) -> None:
    """Nothing is sent before; then each chunk goes out when it arrives."""

    async def test() -> None:
        exchange, task = streaming(application, engine)
        await until(lambda: engine.calls)
        assert exchange.sent == []
        call = await started(engine, exchange)
        call.begin_stream().yield_chunk(b"1")
        await until(lambda: len(exchange.bodies) == 2)
        call.decide(Encoded(b""))
        await task
        assert exchange.bodies == [b"0\n", b"1\n", b""]
        assert exchange.ended_cleanly

    run(test)


def test_what_has_arrived_together_is_written_together(application: Any, engine: FakeEngine) -> None:
    """Chunks that arrive while the client reads are one piece of body."""

    async def test() -> None:
        exchange, task = streaming(application, engine)
        exchange.readable.clear()
        await until(lambda: engine.calls)
        call = engine.calls[0]
        call.begin_stream().yield_chunk(b"0")
        await until(lambda: exchange.sent)
        call.yield_chunk(b"1")
        call.yield_chunk(b"2")
        call.decide(Encoded(b""))
        exchange.readable.set()
        await task
        assert exchange.bodies == [b"0\n1\n2\n", b""]

    run(test)


@pytest.mark.parametrize(
    ("headers", "last"),
    [
        ({}, b'{"error":{"message":"too slow","type":"timeout_error","code":"execution-timeout","param":null}}\n'),
        ({"accept": "text/event-stream"}, b'event: error\ndata: {"error":{"message":"too slow"'),
    ],
)
def test_a_failed_stream_says_so_and_never_ends_cleanly(
    application: Any, engine: FakeEngine, headers: dict[str, str], last: bytes
) -> None:
    """The error is the last thing in the body; there is no final chunk, so no client takes it for whole."""

    async def test() -> None:
        exchange, task = streaming(application, engine, **headers)
        call = await started(engine, exchange)
        call.decide(errors.ExecutionTimeout("too slow"))
        with pytest.raises(asyncio.CancelledError) as cut:
            await task
        assert "Cut" in type(cut.value).__name__
        assert exchange.bodies[-1].startswith(last)
        assert not exchange.ended_cleanly

    run(test)


def test_a_client_that_leaves_a_stream_stops_it(application: Any, engine: FakeEngine) -> None:
    """A disconnection is noticed also while nothing is being sent."""

    async def test() -> None:
        exchange, task = streaming(application, engine)
        call = await started(engine, exchange)
        await until(lambda: exchange.receive_calls == 2)
        exchange.inbox.put_nowait(DISCONNECT)
        await task  # an exception would be a traceback in the log of most servers
        assert call.cancelled_because == "the client went away"

    run(test)


def test_a_stream_that_is_closed_early_stops_its_job(application: Any, engine: FakeEngine) -> None:
    """The job is cancelled however the server ends the response."""

    async def test() -> None:
        exchange, task = streaming(application, engine)
        call = await started(engine, exchange)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.cancelled_because is not None
        assert call.on_progress is None

    run(test)


def test_silence_is_filled_with_comments(application: Any, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Server-sent events keep the connection alive while the job is silent, again and again."""
    monkeypatch.setattr("penstock_falcon._asgi.asgi_stream_body.KEEP_ALIVE_SECONDS", 0.005)

    async def test() -> None:
        exchange, task = streaming(application, engine, accept="text/event-stream")
        call = await started(engine, exchange)
        await until(lambda: len(exchange.bodies) >= 3)
        call.decide(Encoded(b""))
        await task
        first, *silence, end, closing = exchange.bodies
        assert (first, set(silence)) == (b"data: 0\n\n", {b": keep-alive\n\n"})
        assert (end, closing) == (b"event: end\ndata: {}\n\n", b"")

    run(test)


@pytest.mark.parametrize("failed", [True, False])
def test_a_client_that_does_not_read_loses_its_connection(
    application: Any, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, failed: bool
) -> None:
    """Stuck in ``send``, the request is cancelled: soon when its job has failed, else after the idle time-out."""
    monkeypatch.setattr("penstock_falcon._asgi.asgi_stream_body.LAST_WRITE_SECONDS", 0.005)

    async def test() -> None:
        exchange, task = streaming(application, engine)
        call = await started(engine, exchange)
        exchange.readable.clear()
        call.begin_stream().yield_chunk(b"1")
        if failed:
            await until(lambda: len(exchange.bodies) == 2)
            call.decide(errors.ExecutionTimeout("the client does not read"))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.outcome is not None
        assert exchange.bodies == [b"0\n", b"1\n"]

    run(test)


# ---- mounted on an application with requests of its own


def test_a_mounted_endpoint_sees_hang_ups_too(engine: FakeEngine) -> None:
    """They are noticed with Falcon's plain requests and with ours."""
    engine.script = keep

    async def test() -> None:
        for number, request_type in enumerate((falcon.asgi.Request, penstock_falcon.Request)):
            application = falcon.asgi.App(request_type=request_type)
            penstock_falcon.mount(application, make_app(), engine=engine)
            exchange = Exchange(application, "/models/square", piece(BODY[:3], more=True), piece(BODY[3:]))
            task = exchange.start()
            await until(lambda exchange=exchange: exchange.receive_calls == 3)
            exchange.inbox.put_nowait(DISCONNECT)
            await task
            assert engine.calls[number].body == BODY
            assert engine.calls[number].cancelled_because == "the client went away"

    run(test)


# ---- the application's life


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[FakeEngine]:
    """Collect the engines that the adapter makes for itself."""
    created: list[FakeEngine] = []

    def create(app: Any, *, target: str | None, registry: Any) -> FakeEngine:
        created.append(FakeEngine())
        return created[-1]

    monkeypatch.setattr(asgi_service, "create_engine", create)
    return created


class Life:
    """The lifespan side of a server."""

    def __init__(self, application: Any) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[str] = []
        self.task = asyncio.create_task(
            application({"type": "lifespan", "asgi": {"version": "3.0"}}, self.inbox.get, self.send)
        )

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message["type"])

    async def tell(self, what: str) -> None:
        before = len(self.sent)
        self.inbox.put_nowait({"type": f"lifespan.{what}"})
        await until(lambda: len(self.sent) > before)


def test_the_engine_lives_with_the_application(engines: list[FakeEngine]) -> None:
    """Started at start-up without waiting for models, drained and closed at shutdown."""
    application = penstock_falcon.asgi(make_app())

    async def test() -> None:
        life = Life(application)
        assert application.penstock.engine is None
        await life.tell("startup")
        (engine,) = engines
        assert engine.started
        assert not engine.closed
        await life.tell("shutdown")
        assert (engine.draining, engine.closed) == (True, True)
        assert life.sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        await life.task

    run(test)


def test_shutdown_waits_for_what_is_admitted(engines: list[FakeEngine]) -> None:
    """Shutdown is reported as complete when the engine has drained, and not before."""
    application = penstock_falcon.asgi(make_app())

    async def test() -> None:
        life = Life(application)
        await life.tell("startup")
        (engine,) = engines
        engine.script = keep
        exchange = Exchange(application, "/square", piece(BODY))
        task = exchange.start()
        await until(lambda: engine.calls)
        life.inbox.put_nowait({"type": "lifespan.shutdown"})
        await until(lambda: engine.draining)
        assert not engine.closed
        engine.calls[0].decide(Encoded(b"16"))
        await task
        assert exchange.headers[b"connection"] == b"close"
        assert engine.on_drained is not None
        engine.on_drained()
        await life.task
        assert engine.closed

    run(test)


def test_without_a_lifespan_the_first_request_starts_the_engine(engines: list[FakeEngine]) -> None:
    """A request of any kind starts it: a readiness probe, too."""
    application = penstock_falcon.asgi(make_app())

    async def test() -> None:
        probe = Exchange(application, "/readyz", piece(b""))
        probe.scope["method"] = "GET"
        await probe.run()
        exchange = Exchange(application, "/square", piece(BODY))
        await exchange.run()
        assert (probe.status, exchange.status, len(engines)) == (200, 200, 1)

    run(test)


def test_a_given_engine_is_not_ended(application: Any, engine: FakeEngine) -> None:
    """An engine passed by the user is not stopped with the application."""

    async def test() -> None:
        life = Life(application)
        await life.tell("startup")
        await life.tell("shutdown")
        await life.task
        assert (engine.started, engine.draining, engine.closed) == (False, False, False)

    run(test)


def test_a_request_leaves_nothing_to_the_garbage_collector(application: Any, engine: FakeEngine) -> None:
    """No part of a request refers to another in a cycle: each is freed with its last reference."""

    def decide_later(call: FakeCall) -> None:
        asyncio.get_running_loop().call_soon(call.decide, Encoded(b"16"))

    engine.script = decide_later

    async def test() -> None:
        await Exchange(application, "/square", piece(BODY)).run()
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await Exchange(application, "/square", piece(BODY)).run()
            engine.calls.clear()
            # A cycle leaves at least one object for each request. The test runner's own threads may leave a few more.
            assert gc.collect() < 100
        finally:
            gc.enable()

    run(test)


LARGE = SMALL_BODY_BYTES + 1


@pytest.mark.parametrize("ending", [piece(b"x"), piece(bytes(LARGE)), DISCONNECT], ids=["whole", "larger", "aborted"])
def test_a_large_body_counts_from_its_announcement_until_it_has_arrived(
    engine: FakeEngine, ending: dict[str, Any]
) -> None:
    """It counts against the bound on queued bytes meanwhile, however the upload ends. A small body does not count."""
    application = penstock_falcon.asgi(make_app(), engine=engine, max_body=LARGE)
    engine.script = lambda call: call.decide(Encoded(b"1"))

    async def test() -> None:
        uploads = [Exchange(application, "/raw", content_length=str(size)) for size in (LARGE, LARGE, SMALL_BODY_BYTES)]
        tasks = [upload.start() for upload in uploads]
        await until(lambda: all(upload.receive_calls for upload in uploads))
        assert engine.arriving_bytes == 2 * LARGE
        for upload in uploads:
            upload.inbox.put_nowait(piece(bytes(LARGE - 1), more=True))
            upload.inbox.put_nowait(ending)
        await asyncio.wait(tasks)
        assert engine.arriving_bytes == 0

    run(test)


def test_a_large_body_that_is_not_announced_counts_as_it_grows(engine: FakeEngine) -> None:
    """It counts from the moment at which it is no longer small, and is refused as soon as there is no room."""
    application = penstock_falcon.asgi(make_app(), engine=engine, max_body=4 * LARGE)

    async def test() -> None:
        upload = Exchange(application, "/raw")
        task = upload.start()
        counts = []
        for number, size in enumerate((SMALL_BODY_BYTES, 1, 10), 2):
            upload.inbox.put_nowait(piece(bytes(size), more=True))
            await until(lambda calls=number: upload.receive_calls == calls)
            counts.append(engine.arriving_bytes)
        assert counts == [0, LARGE, LARGE + 10]
        engine.refusal = errors.QueueFull()
        upload.inbox.put_nowait(piece(b"x", more=True))
        await task
        assert (upload.status, engine.arriving_bytes) == (503, 0)

    run(test)


def test_problem_documents_are_json(application: Any) -> None:
    """A path that is not valid Unicode does not break the document."""

    async def test() -> None:
        exchange = Exchange(application, "/no\ud800where")
        await exchange.run()
        assert msgspec.json.decode(exchange.bodies[0])["status"] == 404

    run(test)
