"""A server that serves usual requests as our gunicorn worker does: without ASGI and without Falcon."""

from __future__ import annotations

import asyncio
from typing import Any

import penstock_falcon
from penstock.hosting import SMALL_BODY_BYTES
from penstock_falcon._asgi.direct_endpoint import DirectEndpoint
from penstock_falcon._asgi.server_connection import CONNECTION

UNUSUAL = {b"content-encoding", b"expect", b"transfer-encoding", b"upgrade", b"connection"}


class DirectConnection:
    """A client's connection with one request."""

    request_began = None
    impatience = None
    stream = None

    def __init__(self, endpoint: DirectEndpoint, peer: str) -> None:
        self._endpoint = endpoint
        self.peer = peer
        self.exchange: Any = None
        self.call: Any = None
        self.write_idle = 0.0
        self.on_progress = lambda: endpoint.progress(self)
        self.response: tuple[str, bytes] | None = None
        self.is_handed_over = False
        self.happened = asyncio.Event()

    def respond(self, head: str, body: bytes, *, is_last: bool) -> None:
        assert self.response is None, "the request is answered twice"
        self.call = self.exchange = None
        self.response = head + ("connection: close\r\n" if is_last else ""), body
        self.happened.set()

    def hand_over(self) -> None:
        self.is_handed_over = True
        self.happened.set()

    def abandon(self) -> None:
        if self.call is not None:
            self._endpoint.abandon(self.exchange, self.call)

    async def wait(self) -> None:
        await self.happened.wait()

    def take_begun(self) -> Any:
        return self.exchange, self.call


class DirectServer:
    """An ASGI application, for the test client, around the endpoints of another that can be reached without ASGI."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.penstock = application.penstock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.application, name)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [tuple(pair) for pair in scope["headers"]]}  # it may be an iterator
        endpoint = self.application.direct_endpoints.get(scope["path"].encode()) if scope["type"] == "http" else None
        if endpoint is None or not is_usual(scope):
            await self.application(scope, receive, send)
            return
        connection = DirectConnection(endpoint, next(iter(scope.get("client", ["127.0.0.1"]))))
        body, leaves = await read(receive)
        endpoint.begin(connection, dict(scope["headers"]), body)
        if leaves:
            connection.abandon()
        try:
            await connection.wait()
        except BaseException:
            connection.abandon()
            raise
        if connection.is_handed_over:
            await self.application({**scope, CONNECTION: connection}, whole(body), send)
            return
        assert connection.response is not None
        await write(send, *connection.response)


def direct(*arguments: Any, **options: Any) -> DirectServer:
    """Return what ``penstock_falcon.asgi`` returns, behind that server."""
    return DirectServer(penstock_falcon.asgi(*arguments, **options))


def is_usual(scope: dict[str, Any]) -> bool:
    names = [name for name, _ in scope["headers"]]
    length = dict(scope["headers"]).get(b"content-length", b"0")
    is_small = length.isdigit() and int(length) <= SMALL_BODY_BYTES
    is_plain = len(set(names)) == len(names) and UNUSUAL.isdisjoint(names) and not scope["query_string"]
    return scope["method"] == "POST" and scope["http_version"] == "1.1" and is_small and is_plain


async def read(receive: Any) -> tuple[bytes, bool]:
    """Return the whole body, and whether the client leaves."""
    body = b""
    while (event := await receive())["type"] == "http.request":
        body += event.get("body", b"")
        if not event.get("more_body"):
            return body, False
    return body, True


def whole(body: bytes) -> Any:
    events = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if events:
            return events.pop()
        return await asyncio.Event().wait()

    return receive


async def write(send: Any, head: str, body: bytes) -> None:
    status, *lines = head.removesuffix("\r\n").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    await send({"type": "http.response.start", "status": int(status.split()[0]), "headers": headers})
    await send({"type": "http.response.body", "body": body})
