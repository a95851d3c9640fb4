"""No way out of a request leaves objects that only the garbage collector can free, with the bodies that they hold."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import itertools
import logging
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import falcon
import falcon.testing
import pytest

import penstock_falcon
from penstock import open_engine, start_engine
from penstock.engine.engine import Engine
from penstock.hosting import ThreadedEngine
from penstock_falcon.problems import framework_problem
from tests.adapters.falcon.abandoned_app import app
from tests.adapters.falcon.test_falcon_asgi import DISCONNECT, Exchange, piece, until

REQUESTS = 100
MAX_BODY = 1000
BODY = bytes(100)
AT_ONCE = "0.00001"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep the collector and the log off: pytest would keep the records."""
    logging.disable()
    gc.disable()
    gc.collect()
    gc.freeze()  # the tests collect often, and need not look at everything that pytest has made
    yield
    gc.unfreeze()
    gc.enable()
    logging.disable(logging.NOTSET)


def is_littered() -> bool:
    """Return whether there are as many unreachable objects as requests; the runner's own threads leave a few."""
    return gc.collect() >= REQUESTS


@contextlib.contextmanager
def closed_lane(engine: Engine) -> Iterator[None]:
    """Refuse all requests for ``size`` meanwhile."""
    lane = engine.scheduler.lanes["size"]
    lane.max_queue, usual = 0, lane.max_queue
    try:
        yield
    finally:
        lane.max_queue = usual


class AsgiClients:
    """Clients of an ASGI application, each with its own way of ending a request."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.application = penstock_falcon.asgi(app, engine=engine, max_body=MAX_BODY)

    def new(self, path: str, *events: dict[str, Any], **headers: str) -> Exchange:
        return Exchange(self.application, path, *events, **headers)

    async def answered(self) -> int:
        exchange = self.new("/size", piece(BODY))
        await exchange.run()
        return exchange.status

    async def failed(self) -> int:
        exchange = self.new("/fail", piece(BODY))
        await exchange.run()
        return exchange.status

    async def refused(self) -> int:
        with closed_lane(self.engine):
            return await self.answered()

    async def refused_after_its_body(self) -> int:
        exchange = self.new("/size", piece(BODY, more=True))
        task = exchange.start()
        await until(lambda: exchange.receive_calls == 2)
        with closed_lane(self.engine):
            exchange.inbox.put_nowait(piece(b""))
            await task
        return exchange.status

    async def too_large(self) -> int:
        exchange = self.new("/size", piece(BODY, more=True), piece(bytes(MAX_BODY)))
        await exchange.run()
        return exchange.status

    async def upload_aborted(self) -> int:
        exchange = self.new("/size", piece(BODY, more=True), DISCONNECT)
        await exchange.run()
        return exchange.status

    async def upload_cancelled(self) -> int:
        exchange = self.new("/size", piece(BODY, more=True))
        task = exchange.start()
        await until(lambda: exchange.receive_calls == 2)
        return await self.cancel(task)

    async def timed_out(self) -> int:
        exchange = self.new("/sleep", piece(BODY), x_request_timeout=AT_ONCE)
        await exchange.run()
        return exchange.status // 100

    async def hung_up(self) -> int:
        exchange = self.new("/sleep", piece(BODY), DISCONNECT)
        await exchange.run()
        return exchange.status

    async def cancelled(self) -> int:
        exchange = self.new("/sleep", piece(BODY))
        task = exchange.start()
        await until(lambda: self.engine.scheduler.jobs_live)
        return await self.cancel(task)

    async def stream_cut(self) -> int:
        return await self.streamed("/count", lambda exchange, _: exchange.inbox.put_nowait(DISCONNECT))

    async def stream_cancelled(self) -> int:
        return await self.streamed("/count", lambda _, task: task.cancel())

    async def stream_broken(self) -> int:
        return await self.streamed("/break", lambda *_: None)

    async def stream_cancelled_before_its_start(self) -> int:
        exchange = self.new("/count", piece(BODY))
        exchange.readable.clear()
        task = exchange.start()
        await until(lambda: exchange.sent)
        return await self.cancel(task)

    async def streamed(self, path: str, leave: Callable[[Exchange, asyncio.Task[None]], object]) -> int:
        exchange = self.new(path, piece(BODY))
        task = exchange.start()
        await until(lambda: len(exchange.sent) > 1)
        leave(exchange, task)
        await asyncio.wait([task])
        return exchange.status

    async def cancel(self, task: asyncio.Task[None]) -> int:
        """Cancel a request as a server does, which never asks its task for the exception; return 0 for no status."""
        task.cancel()
        await asyncio.wait([task])
        return 0

    async def repeat(self, request: Callable[[], Coroutine[Any, Any, int]]) -> Counter[int]:
        """Make the requests at the same time, except where each one opens and closes the lane."""
        if request in (self.refused, self.refused_after_its_body):
            return Counter([await request() for _ in range(REQUESTS)])
        return Counter(await asyncio.gather(*(request() for _ in range(REQUESTS))))


def test_nothing_is_left_of_an_asgi_request() -> None:
    """Refusals, hang-ups, cut streams and aborted uploads are freed with their last reference, as answers are."""

    async def test() -> list[str]:
        async with open_engine(app) as opened:
            clients = AsgiClients(opened.engine)
            ways = {
                clients.answered: 200,
                clients.failed: 500,
                clients.refused: 503,
                clients.refused_after_its_body: 503,
                clients.too_large: 413,
                clients.upload_aborted: 400,
                clients.upload_cancelled: 0,
                clients.timed_out: 5,
                clients.hung_up: 499,
                clients.cancelled: 0,
                clients.stream_cut: 200,
                clients.stream_cancelled: 200,
                clients.stream_broken: 200,
                clients.stream_cancelled_before_its_start: 0,
            }
            await clients.answered()
            gc.collect()  # the start has left some
            littering = []
            for way, status in ways.items():
                assert await clients.repeat(way) == {status: REQUESTS}, way
                if is_littered():
                    littering.append(way.__name__)
            assert opened.engine.scheduler.jobs_live == 0
            return littering

    assert asyncio.run(test()) == []


class ClosingInput(io.BytesIO):
    """A body that takes so long to arrive that the lane is closed meanwhile."""

    def __init__(self, closing: contextlib.ExitStack, engine: Engine) -> None:
        super().__init__(BODY)
        self._closing = closing
        self._engine = engine

    def read(self, size: int | None = None, /) -> bytes:
        self._closing.enter_context(closed_lane(self._engine))
        return super().read(size)


class WsgiClients:
    """Clients of a WSGI application, each with its own way of ending a request."""

    def __init__(self, engine: ThreadedEngine) -> None:
        self.engine = engine
        self.application = penstock_falcon.wsgi(app, engine=engine, max_body=MAX_BODY)

    def request(self, path: str, *, length: int = len(BODY), pieces: int | None = None, **more: Any) -> int:
        """Send a request, read at most this many pieces of its response, and close it; return the status."""
        env = falcon.testing.create_environ(path, method="POST", headers={"Content-Length": str(length)})
        statuses: list[str] = []
        response = self.application(
            {**env, "wsgi.input": io.BytesIO(BODY), **more}, lambda status, *_: statuses.append(status)
        )
        with contextlib.suppress(ConnectionResetError):
            assert all(isinstance(piece, bytes) for piece in itertools.islice(response, pieces))
        if hasattr(response, "close"):
            response.close()
        return int(statuses[0][:3])

    def answered(self) -> int:
        return self.request("/size")

    def failed(self) -> int:
        return self.request("/fail")

    def refused(self) -> int:
        with closed_lane(self.engine.engine):
            return self.request("/size")

    def refused_after_its_body(self) -> int:
        with contextlib.ExitStack() as closing:
            return self.request("/size", **{"wsgi.input": ClosingInput(closing, self.engine.engine)})

    def too_large(self) -> int:
        return self.request("/size", length=MAX_BODY + 1)

    def upload_aborted(self) -> int:
        return self.request("/size", length=len(BODY) + 1)

    def timed_out(self) -> int:
        return self.request("/sleep", HTTP_X_REQUEST_TIMEOUT=AT_ONCE) // 100

    def hung_up(self) -> int:
        server, client = socket.socketpair()
        client.close()
        with server:
            return self.request("/sleep", **{"gunicorn.socket": server})

    def stream_cut(self) -> int:
        return self.request("/count", pieces=1)

    def stream_broken(self) -> int:
        return self.request("/break")


def test_nothing_is_left_of_a_wsgi_request() -> None:
    """The same holds under WSGI, where errors cross from the engine's thread to the server's."""
    with start_engine(app) as engine:
        clients = WsgiClients(engine)
        ways = {
            clients.answered: 200,
            clients.failed: 500,
            clients.refused: 503,
            clients.refused_after_its_body: 503,
            clients.too_large: 413,
            clients.upload_aborted: 400,
            clients.timed_out: 5,
            clients.hung_up: 499,
            clients.stream_cut: 200,
            clients.stream_broken: 200,
        }
        clients.answered()
        gc.collect()
        littering = []
        for way, status in ways.items():
            assert Counter(way() for _ in range(REQUESTS)) == {status: REQUESTS}, way
            if is_littered():
                littering.append(way.__name__)
        assert littering == []
        assert engine.engine.scheduler.jobs_live == 0


def test_nothing_is_left_of_an_error_without_a_class_of_its_own() -> None:
    """A status that only the user's routes answer with does not cost a class, which would hold itself, each time."""
    for _ in range(REQUESTS):
        assert framework_problem(falcon.HTTPError(418, title="A teapot"), "id").status == 418
    assert not is_littered()
