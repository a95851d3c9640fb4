"""The kinds of requests whose instructions are counted, each served so often that its count is stable.

``http: ...`` is the HTTP process under gunicorn, from the bytes of the request to those of the response.
``worker: ...`` is the worker process, from the bytes of the frames to those of the results. The others are further ways
in, which share that worker. The count of several requests or chunks is divided by their number.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import bare
import counted
from fixed_clock import FixedClock
from gunicorn.asgi.protocol import ASGIProtocol
from in_process import InProcessWorker, InProcessWorkers, RecordingTransport, gunicorn_worker
from instruction_counter import CountingBlock, InstructionCounter, Tally

import penstock_falcon
from penstock import configure_logging, open_engine
from penstock.response import Encoded
from penstock.wire import Chunk, Head, Run
from penstock_gunicorn.direct_protocol import DirectProtocol

IN_FLIGHT = 8
BURST = 100
BURST_ROUNDS = 8
BATCH_ROUNDS = 64
TURNS = 8
"""Turns of the loop after which nothing is left to do without the worker."""
WARM_UP = 128
"""Some things are done for the first requests only, such as to look at whether results are what was declared."""
REQUESTS = 256
"""The requests of each kind that are counted. It is the number of records for which the metrics wait before they count
them: so what is put off for some requests is in the count in full, for all that do one record or more."""
THREAD_ROUNDS = 64
THREAD_SECONDS = 0.003
"""The time that a thread gets until it waits for the result; nothing depends on it but the stability of a count."""


@dataclass(frozen=True)
class KindCount:
    """The count of one kind.

    Parameters
    ----------
    tally:
        The instructions of ``requests`` requests, or chunks.
    requests:
        The number that they are divided by.
    codes:
        The functions, by the keys of the tally.
    """

    tally: Tally
    requests: int
    codes: dict[int, CodeType]

    @property
    def instructions(self) -> int:
        """The instructions of one."""
        return round(self.tally.total / self.requests)


class Scene:
    """The server that is counted: the running engine, and its two sides that act in turn.

    Parameters
    ----------
    counter:
        Counts the side that acts.
    clock:
        Moves with each round.
    """

    def __init__(self, counter: InstructionCounter, clock: FixedClock) -> None:
        self.counter = counter
        self.clock = clock
        self.counts: dict[str, KindCount] = {}
        self._http: Tally | None = None
        self._worker: Tally | None = None

    async def turns(self) -> None:
        """Let the HTTP process do what it can."""
        with self.counter.counting(self._http):
            for _ in range(TURNS):
                await asyncio.sleep(0)

    async def until(self, is_done: Callable[[], bool], pool: str = "default") -> None:
        """Let the two sides act in turn until the responses are complete."""
        worker = InProcessWorkers.latest[pool]
        for _ in range(10):
            await self.turns()
            if worker.has_work():
                with self.counter.counting(self._worker):
                    worker.step()
            elif is_done():
                return
        raise AssertionError("no response")

    def http(self) -> CountingBlock:
        """Return a block that is counted as the HTTP process's."""
        return self.counter.counting(self._http)

    async def count(
        self,
        kind: str,
        serve: Callable[[], Awaitable[None]],
        requests: int = 1,
        *,
        rounds: int | None = None,
        worker: bool = False,
    ) -> None:
        """Serve again and again, and keep the counts: those of the HTTP process, and the worker's if asked to."""
        if rounds is None:
            rounds = REQUESTS // requests
        for _ in range(WARM_UP):
            await self._round(serve)
        self._http, self._worker = http_tally, worker_tally = Tally(), Tally()
        for _ in range(rounds):
            await self._round(serve)
        self.counts[f"http: {kind}" if worker else kind] = KindCount(http_tally, rounds * requests, self.counter.codes)
        if worker:
            self.counts[f"worker: {kind}"] = KindCount(worker_tally, rounds * requests, self.counter.codes)
        self._http = self._worker = None  # the next kind warms up

    async def _round(self, serve: Callable[[], Awaitable[None]]) -> None:
        await serve()
        self.clock.move(0.001)


def post(path: str, content: Any) -> bytes:
    """Return a request with a JSON body, with the headers that a usual client sends."""
    body = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


SQUARE = post("/square", {"input": 4.0})
UNUSUAL = SQUARE.replace(b"Accept: */*\r\n", b"Accept: text/html\r\nAccept: */*\r\n")
"""A request with two headers of one name, which goes through ASGI."""
INVALID = post("/square", {"input": "four"})
REFUSED = post("/refuse", {"input": 4.0})
BATCHED = post("/squares", 4.0)
STREAM = post("/count", {"n": BURST})
FULL = post("/full", {"input": 4.0})
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"


class Clients:
    """Keep-alive connections to an ASGI application under gunicorn, each with one request at a time."""

    def __init__(self, scene: Scene, application: Any, protocol: type[ASGIProtocol], count: int = 1) -> None:
        self._scene = scene
        worker = gunicorn_worker(application)
        self.protocols = [protocol(worker) for _ in range(count)]
        self.transports = [RecordingTransport() for _ in range(count)]
        for each, transport in zip(self.protocols, self.transports, strict=True):
            each.connection_made(transport)

    def send(self, request: bytes) -> None:
        """Send a request on each connection."""
        for transport in self.transports:
            transport.sent.clear()
        for protocol in self.protocols:
            with self._scene.http():
                protocol.data_received(request)

    def have(self, status: int, end: bytes = b"") -> bool:
        """Return whether each connection has had a response with this status, and its end."""
        for item in self.transports:
            item.read()
        start = b"HTTP/1.1 %d " % status
        return all(item.sent.startswith(start) and item.sent.endswith(end) for item in self.transports)

    async def ask(self, request: bytes, status: int, end: bytes = b"", pool: str = "default") -> None:
        """Send a request on each connection, and have all of them answered."""
        self.send(request)
        try:
            await self._scene.until(lambda: self.have(status, end), pool)
        except AssertionError as error:
            raise AssertionError(f"{error} with status {status}, but {self.transports[0].sent[-2000:]!r}") from None


async def count_gunicorn(scene: Scene, application: Any) -> None:
    """Count requests to the application under gunicorn."""
    one = Clients(scene, application, DirectProtocol)
    several = Clients(scene, application, DirectProtocol, IN_FLIGHT)
    batch = Clients(scene, application, DirectProtocol, counted.BATCH_SIZE)
    blocked = Clients(scene, application, DirectProtocol, 2)
    await scene.turns()
    await scene.count("one request", lambda: one.ask(SQUARE, 200), worker=True)
    await scene.count("http: one request, by ASGI", lambda: one.ask(UNUSUAL, 200))
    await scene.count(f"{IN_FLIGHT} in flight", lambda: several.ask(SQUARE, 200), IN_FLIGHT, worker=True)
    await scene.count(
        f"batch of {counted.BATCH_SIZE}",
        lambda: batch.ask(BATCHED, 200),
        counted.BATCH_SIZE,
        rounds=BATCH_ROUNDS,
        worker=True,
    )
    await scene.count("http: 422", lambda: one.ask(INVALID, 422))
    await scene.count("422 by the handler", lambda: one.ask(REFUSED, 422), worker=True)
    await scene.count(
        f"chunk, {BURST} at once",
        lambda: one.ask(STREAM, 200, end=b"0\r\n\r\n"),
        BURST,
        rounds=BURST_ROUNDS,
        worker=True,
    )
    await scene.count("http: GET /livez", lambda: one.ask(LIVEZ, 200))
    blocked.send(FULL)  # one is with the worker, and one in the queue
    await scene.turns()
    await scene.count("http: 503", lambda: one.ask(FULL, 503))
    await count_single_chunks(scene, application)


async def count_single_chunks(scene: Scene, application: Any) -> None:
    """Count chunks that arrive alone, as those of a slow model do."""
    client = Clients(scene, application, DirectProtocol)
    await scene.turns()
    client.send(STREAM)
    await scene.turns()
    worker: InProcessWorker = InProcessWorkers.latest["default"]
    (run,) = worker.take()
    assert isinstance(run, Run)
    worker.send(Head(run.attempt, Encoded(b"")))
    (transport,) = client.transports

    async def one() -> None:
        transport.sent.clear()
        worker.send(Chunk(run.attempt, b'{"token":1}'))
        await scene.turns()
        assert b"token" in transport.sent

    await scene.count("http: chunk, alone", one)


async def count_asgi(scene: Scene, kind: str, application: Any) -> None:
    """Count calls of an ASGI application, as any other server makes them."""
    head, _, body = SQUARE.partition(b"\r\n\r\n")
    pairs = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/square",
        "raw_path": b"/square",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in pairs],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def one() -> None:
        sent.clear()
        events = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return events.pop() if events else await asyncio.get_running_loop().create_future()

        task = asyncio.ensure_future(application(dict(scope), receive, send))
        await scene.until(task.done)
        await task
        assert sent[0]["status"] == 200, sent

    await scene.count(kind, one)


async def count_embedded(scene: Scene, engine: Any) -> None:
    """Count calls of an engine without HTTP."""

    async def one() -> None:
        task = asyncio.ensure_future(engine.call("square", {"input": 4.0}))
        await scene.until(task.done)
        assert await task == 16.0

    await scene.count("embedded: one call", one)


async def count_wsgi(scene: Scene) -> None:
    """Count requests to the WSGI application: in the thread of the request and in that of the engine."""
    application = penstock_falcon.wsgi(counted.app, target="counted:app")
    application.penstock.start()
    scene.counter.threads.update(t.ident for t in threading.enumerate() if t.name == "penstock-engine" and t.ident)
    while application.penstock.start().unready_reasons():
        pass
    ended = threading.Event()
    thread = threading.Thread(target=_answer_for_threads, args=(InProcessWorkers.latest["default"], ended))
    thread.start()
    body = SQUARE.partition(b"\r\n\r\n")[2]
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/square",
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "bench",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "bench",
        "HTTP_USER_AGENT": "bench",
        "HTTP_ACCEPT": "*/*",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }

    async def one() -> None:
        started: list[str] = []
        with scene.http():
            response = application(
                {**environ, "wsgi.input": io.BytesIO(body)}, lambda status, _: started.append(status)
            )
            assert b"".join(response) == b"16.0"
        await asyncio.to_thread(time.sleep, THREAD_SECONDS)  # the engine's thread may have something left to do

    try:
        await scene.count("wsgi: one request", one, rounds=THREAD_ROUNDS)
    finally:
        ended.set()
        thread.join()
        application.penstock.start().stop()  # without a drain, in which the workers would have to exit


def _answer_for_threads(worker: InProcessWorker, ended: threading.Event) -> None:
    while not ended.is_set():
        if worker.has_work(0.1):
            time.sleep(THREAD_SECONDS)  # until the thread of the request waits
            worker.step()


def count_all(clock: FixedClock) -> dict[str, KindCount]:
    """Return the count of each kind of request, with the plug-ins that are installed and no settings."""
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        del os.environ[name]
    gc.disable()
    with Path(os.devnull).open("w") as nowhere:
        configure_logging("text", nowhere)
        InProcessWorkers.install(counted.app)
        counter = InstructionCounter()
        scene = Scene(counter, clock)
        counter.install()
        asyncio.run(_count_all(scene))
    return dict(sorted(scene.counts.items()))


async def _count_all(scene: Scene) -> None:
    async with open_engine(counted.app) as embedded:
        await count_embedded(scene, embedded)
        application = penstock_falcon.asgi(counted.app, engine=embedded.engine)
        await count_asgi(scene, "asgi: one request", application)
        await count_asgi(scene, "asgi: bare Falcon", bare.app)
        falcon = Clients(scene, bare.app, ASGIProtocol)
        await scene.turns()
        await scene.count("http: bare Falcon", lambda: falcon.ask(SQUARE, 200))
        await count_gunicorn(scene, application)
        embedded.engine.close()  # the drain would wait for what is left in the queue
    await count_wsgi(scene)
