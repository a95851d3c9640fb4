"""ASGI by hand on trio, as hypercorn's trio workers run it: the same answers, deadlines and ends as on asyncio."""

from __future__ import annotations

import gzip
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import falcon.asgi
import pytest
import trio

import penstock_falcon
from penstock import App, Timeouts, errors
from penstock.response import Encoded
from penstock_falcon._asgi import asgi_service
from penstock_falcon._asgi.server_loop import running_loop
from penstock_falcon._asgi.server_task import TrioStreamCutShort
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine, keep, make_app

LIMIT_SECONDS = 10.0
DISCONNECT = {"type": "http.disconnect"}
WHOLE = {"type": "http.request", "body": b'{"input":4.0}'}


class TrioCall(FakeCall):
    async def wait(self) -> None:
        while self.outcome is None and not self._chunks:
            waiter: Any = running_loop().create_future()
            self._waiters.append(waiter)
            await waiter


class TrioEngine(FakeEngine):
    call_class = TrioCall


class Exchange:
    """One request, driven by hand."""

    def __init__(self, application: Any, path: str, *events: dict[str, Any]) -> None:
        self.application = application
        self.feed, self._events = trio.open_memory_channel[dict[str, Any]](10)
        for event in events:
            self.feed.send_nowait(event)
        self.sent: list[dict[str, Any]] = []
        self.blocks_after = 10**9
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [],
        }

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if len(self.sent) >= self.blocks_after:
            await trio.sleep_forever()

    async def run(self) -> None:
        await self.application(self.scope, self._events.receive, self.send)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.fail_after(LIMIT_SECONDS):
            await test()
            await until(lambda: trio.lowlevel.current_statistics().tasks_living == before)

    trio.run(bounded)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event to set
        await trio.sleep(0.001)


@pytest.fixture
def engine() -> TrioEngine:
    return TrioEngine()


@pytest.fixture
def application(engine: TrioEngine) -> falcon.asgi.App:
    return penstock_falcon.asgi(make_app(), engine=engine)


def count(application: Any) -> Exchange:
    return Exchange(application, "/count", {"type": "http.request", "body": b'{"n":3}'})


def begin(call: FakeCall) -> None:
    call.begin_stream().yield_chunk(b"0")


def test_a_call_is_answered(application: Any) -> None:
    """The first request needs no lifespan before it."""

    async def test() -> None:
        exchange = Exchange(application, "/square", WHOLE)
        await exchange.run()
        assert (exchange.sent[0]["status"], exchange.sent[1]["body"]) == (200, b"16.0")

    run(test)


def test_a_client_that_hangs_up_ends_its_call(application: Any, engine: TrioEngine) -> None:
    """While it waits; nothing listens to it afterwards."""
    engine.script = keep

    async def test() -> None:
        exchange = Exchange(application, "/square", WHOLE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.run)
            await until(lambda: engine.calls)
            exchange.feed.send_nowait(DISCONNECT)
        assert engine.calls[0].cancelled_because == "the client went away"

    run(test)


def test_a_receive_that_fails_does_not_end_the_server(
    application: Any, engine: TrioEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """A listener's exception is logged, and the request goes on."""
    engine.script = keep

    async def test() -> None:
        exchange = Exchange(application, "/square", WHOLE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.run)
            await until(lambda: engine.calls)
            exchange.feed.close()
            await until(lambda: caplog.records)
            engine.calls[0].decide(errors.ExecutionTimeout("late"))
        assert exchange.sent[0]["status"] == 504

    with caplog.at_level(logging.ERROR, "penstock"):
        run(test)
    assert caplog.messages == ["a task of an ASGI application raised"]


def test_an_upload_ends_at_the_deadline(engine: TrioEngine) -> None:
    """A body that has not arrived in full is a 408, and never becomes a job."""
    app = App(__name__)

    @app.endpoint("/hasty", timeouts=Timeouts(total=0.05))
    def hasty(body: bytes) -> bytes:
        return body

    async def test() -> None:
        part = {"type": "http.request", "body": b"x", "more_body": True}
        exchange = Exchange(penstock_falcon.asgi(app, engine=engine), "/hasty", part)
        await exchange.run()
        assert (exchange.sent[0]["status"], engine.calls) == (408, [])

    run(test)


def test_bodies_are_compressed_both_ways(engine: TrioEngine) -> None:
    """Large ones in threads of trio's."""
    content = bytes(600_000)
    engine.script = lambda call: call.decide(Encoded(call.body, "text/plain"))

    async def test() -> None:
        exchange = Exchange(
            penstock_falcon.asgi(make_app(), engine=engine, compress=True),
            "/raw",
            {"type": "http.request", "body": gzip.compress(content)},
        )
        exchange.scope["headers"] = [(b"content-encoding", b"gzip"), (b"accept-encoding", b"gzip")]
        await exchange.run()
        assert (b"content-encoding", b"gzip") in exchange.sent[0]["headers"]
        assert engine.calls[0].body == content == gzip.decompress(exchange.sent[1]["body"])

    run(test)


def test_a_failed_stream_is_cut_short(application: Any, engine: TrioEngine) -> None:
    """The application returns within the response, and the server closes the connection."""

    def fail(call: FakeCall) -> None:
        begin(call)
        call.decide(errors.HandlerError("no more"))

    engine.script = fail

    async def test() -> None:
        exchange = count(application)
        await exchange.run()
        assert b"handler-error" in exchange.sent[-1]["body"]
        assert exchange.sent[-1]["more_body"]

    run(test)


def test_a_failed_stream_of_a_mounted_endpoint_raises(engine: TrioEngine) -> None:
    """Only an exception that the server may catch: one of asyncio's would end hypercorn."""

    def fail(call: FakeCall) -> None:
        begin(call)
        call.decide(errors.HandlerError("no more"))

    engine.script = fail
    host = falcon.asgi.App()
    penstock_falcon.mount(host, make_app(), engine=engine, prefix="")

    async def test() -> None:
        with pytest.raises(TrioStreamCutShort):
            await count(host).run()

    run(test)
    assert issubclass(TrioStreamCutShort, Exception)


def test_a_client_that_does_not_read_loses_its_connection(
    application: Any, engine: TrioEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stuck in ``send``, the response is given up after the idle time-out, and so is its job."""
    monkeypatch.setattr("penstock_falcon._asgi.asgi_stream_body.LAST_WRITE_SECONDS", 0.005)
    engine.script = begin

    async def test() -> None:
        exchange = count(application)
        exchange.blocks_after = 2
        await exchange.run()
        assert engine.calls[0].cancelled_because == "the client does not read"

    run(test)


def test_a_response_that_never_begins_ends_its_job(application: Any, engine: TrioEngine) -> None:
    """Falcon closes no stream that it has not begun to read, so the end of the request does."""
    engine.script = begin

    async def test() -> None:
        exchange = count(application)
        exchange.blocks_after = 1
        with trio.move_on_after(0.02):
            await exchange.run()
        assert engine.calls[0].cancelled_because == "the response was closed"

    run(test)


def test_blocking_work_runs_in_a_thread() -> None:
    """Policies that block hold up no other request."""
    threads: list[threading.Thread] = []

    async def test() -> None:
        await running_loop().run_in_executor(None, lambda *_: threads.append(threading.current_thread()), None)

    run(test)
    assert threads != [threading.main_thread()]


@pytest.mark.parametrize("drains", [True, False])
def test_stopping_waits_for_the_drain(monkeypatch: pytest.MonkeyPatch, drains: bool) -> None:
    """No longer than the drain's own timeout and a margin, even if the engine never reports its end."""
    monkeypatch.setattr(asgi_service, "DRAIN_MARGIN_SECONDS", 0.02)
    engine = TrioEngine(keep)
    monkeypatch.setattr(asgi_service, "create_engine", lambda *_args, **_options: engine)
    application = penstock_falcon.asgi(make_app(), drain_timeout=0.02)

    async def test() -> None:
        application.penstock.start()
        exchange = Exchange(application, "/square", WHOLE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.run)
            await until(lambda: engine.calls)
            nursery.start_soon(application.penstock.stop)
            await until(lambda: engine.on_drained)
            assert not engine.closed
            if drains and engine.on_drained is not None:
                engine.on_drained()
            await until(lambda: engine.closed)
            engine.calls[0].decide(errors.Draining("stopped"))

    run(test)
