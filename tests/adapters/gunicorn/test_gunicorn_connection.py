from __future__ import annotations

import asyncio
import gc
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from penstock_gunicorn.connection import TrackedProtocol
from penstock_gunicorn.logger import EventLogger
from penstock_gunicorn.peer_settings import PeerSettings
from penstock_gunicorn.peer_watch import PeerWatch

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
UNFINISHED = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nthe first part"


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


def worker_of(loop: asyncio.AbstractEventLoop) -> SimpleNamespace:
    """Return the parts of a gunicorn worker that a connection uses."""
    cfg = Config()
    cfg.set("asgi_disconnect_grace_period", 0)
    facts = {
        "alive": True,
        "is_leaving": False,
        "nr": 0,
        "nr_conns": 0,
        "max_requests": sys.maxsize,
        "state": {},
        "connections": set(),
    }
    worker = SimpleNamespace(cfg=cfg, log=EventLogger(cfg), loop=loop, asgi=answer, app=None, **facts)
    worker.peers = PeerWatch(loop, worker.connections, PeerSettings())
    return worker


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    status = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return status


async def serve_and_forget(count: int, request: bytes) -> int:
    loop = asyncio.get_running_loop()
    worker = worker_of(loop)
    server = await loop.create_server(lambda: TrackedProtocol(worker), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert [await ask(port, request) for _ in range(count)] == [b"HTTP/1.1 200 OK\r\n"] * count
        while worker.connections:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)  # bounded by the test's own timeout
        await asyncio.sleep(0)
    return sum(type(thing) is TrackedProtocol for thing in gc.get_objects())


@pytest.mark.parametrize("request_", [REQUEST, UNFINISHED], ids=["whole", "unfinished"])
def test_a_closed_connection_is_forgotten(request_: bytes) -> None:
    """It is freed at once, with the part of a body that has arrived; the collector cannot even see into its parser."""
    logging.getLogger("gunicorn.error").setLevel(logging.ERROR)
    gc.disable()
    try:
        assert asyncio.run(serve_and_forget(20, request_)) == 0
    finally:
        gc.enable()
