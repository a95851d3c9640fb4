"""ASGI requests whose bodies are left alone until somebody asks for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import falcon
import falcon.asgi

from penstock_falcon.admission import Gate, cut_short

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]

_NOTHING_YET: Event = {"type": "http.request", "body": b"", "more_body": True}


class BodyOnDemand:
    """A ``receive`` whose first event is an empty one, there at once.

    Falcon awaits the first event before it looks at anything. A client that announces too much and waits to be told so
    would wait for ever, and ``Expect: 100-continue`` would be granted unseen. So Falcon gets an event that says
    nothing, and the server's ``receive`` is first called by whoever wants the body.
    """

    __slots__ = ("_was_asked", "server")

    def __init__(self, server: Receive) -> None:
        self.server = server
        self._was_asked = False

    async def __call__(self) -> Event:
        """The next event."""
        if self._was_asked:
            return await self.server()
        self._was_asked = True
        return _NOTHING_YET


class Request(falcon.asgi.Request):
    """A request that keeps the server's ``receive``, to which Falcon has no public access.

    Give it to a Falcon application of your own, ``falcon.asgi.App(request_type=penstock_falcon.Request)``, before you
    mount endpoints on it.
    """

    def __init__(
        self, scope: dict[str, Any], receive: Receive, first_event: Event | None = None, options: Any = None
    ) -> None:
        if type(receive) is BodyOnDemand:
            receive = receive.server
        super().__init__(scope, receive, first_event=first_event, options=options)
        self.receive = receive
        self.first_event = first_event


class _Encoded(dict[str, bytes]):
    """Names of headers as they arrive. Policies ask for the same few in every request."""

    def __missing__(self, name: str) -> bytes:
        encoded = name.encode()
        if len(self) < _MOST_NAMES:
            self[name] = encoded
        return encoded


_MOST_NAMES = 256
_encoded = _Encoded()


def lookup_of(req: falcon.asgi.Request) -> Callable[[str], str | None]:
    """What looks a header of the request up, by its name in lower case.

    Policies look for many that are seldom there, and Falcon's own look-up raises and catches for each of those.
    """
    headers: dict[bytes, bytes] | None = getattr(req, "_asgi_headers", None)
    if headers is None:
        return req.get_header
    get = headers.get

    def lookup(name: str) -> str | None:
        value = get(_encoded[name])
        return None if value is None else value.decode("latin-1")

    return lookup


def receive_of(req: falcon.asgi.Request) -> Receive | None:
    """The server's ``receive``; for a request of another class Falcon's private one, if this Falcon still has it."""
    if isinstance(req, Request):
        return req.receive
    return getattr(req, "_receive", None)


async def read_body(req: falcon.asgi.Request, gate: Gate) -> bytes:
    """The whole body.

    Raises
    ------
    PayloadTooLarge
        As soon as it has passed the limit.
    MalformedRequest
        If the client went away in the middle.
    """
    if not isinstance(req, Request):
        return await _read_stream(req, gate)
    event = req.first_event
    if event is None or event is _NOTHING_YET:
        event = await req.receive()
    if event["type"] == "http.request" and not event.get("more_body"):
        body: bytes = event.get("body", b"")
        gate.check_size(len(body))
        return body
    return await _collect(event, req.receive, gate)


async def _collect(event: Event, receive: Receive, gate: Gate) -> bytes:
    parts = []
    size_bytes = 0
    while event["type"] == "http.request":
        part = event.get("body", b"")
        size_bytes += len(part)
        gate.check_size(size_bytes)
        parts.append(part)
        if not event.get("more_body"):
            return b"".join(parts)
        event = await receive()
    raise cut_short()


async def _read_stream(req: falcon.asgi.Request, gate: Gate) -> bytes:
    """Read through Falcon's own stream, which middleware of the application may have begun to read."""
    parts = []
    size_bytes = 0
    async for part in req.stream:
        size_bytes += len(part)
        gate.check_size(size_bytes)
        parts.append(part)
    return b"".join(parts)
