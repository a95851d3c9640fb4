"""Reading, waiting and writing under ASGI."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import falcon.asgi

from penstock.hosting import Body, BodyFile, Call
from penstock_falcon._asgi.asgi_file_body import AsgiFileBody
from penstock_falcon._asgi.asgi_hangups import AsgiWatchedCall, HangupWatch
from penstock_falcon._asgi.asgi_requests import NOTHING_YET, Request, collect_events, collect_stream
from penstock_falcon._asgi.asgi_stream_body import AsgiStreamBody
from penstock_falcon._asgi.asgi_uploads import UploadWatch
from penstock_falcon._asgi.server_connection import CONNECTION, ServerConnection
from penstock_falcon._asgi.server_loop import is_on_asyncio, running_loop
from penstock_falcon.request_checks import AnyBudget, BodyChecks, cut_short, late_body
from penstock_falcon.transport import AsyncResponder, HeaderLookup, Transport


class _EncodedNames(dict[str, bytes]):
    """Header names in the form in which they arrive; policies look up the same few on every request."""

    def __missing__(self, name: str) -> bytes:
        encoded = name.encode()
        if len(self) < _MOST_NAMES:
            self[name] = encoded
        return encoded


_MOST_NAMES = 256
encoded_names = _EncodedNames()


class AsgiTransport(Transport):
    """The primitives under ASGI. They suspend on the server's event loop, where the engine runs too."""

    stream_body = AsgiStreamBody

    def __init__(self) -> None:
        self._watch = HangupWatch()
        self._uploads = UploadWatch()

    def begun(self, req: falcon.asgi.Request) -> tuple[Any, Call] | None:
        """Return the exchange and the call of a request that our server has begun to answer itself, or None."""
        connection: ServerConnection | None = req.scope.get(CONNECTION)
        return None if connection is None else connection.take_begun()

    def identify(
        self, req: falcon.asgi.Request
    ) -> tuple[HeaderLookup, Mapping[bytes, bytes] | None, str, float | None]:
        """Return the request's headers (a look-up, and as received), the peer's address, and when it began."""
        scope = req.scope
        connection = scope.get(CONNECTION)
        began = None if connection is None else connection.request_began
        client = scope.get("client")
        # The specification allows any iterable.
        peer = "" if client is None else client[0] if type(client) in {list, tuple} else next(iter(client))
        # Policies look for headers that are usually missing, and Falcon's own look-up raises and catches an exception
        # for each of those.
        headers: dict[bytes, bytes] | None = getattr(req, "_asgi_headers", None)
        if headers is None:
            return req.get_header, None, peer, began
        get = headers.get

        def lookup(name: str) -> str | None:
            value = get(encoded_names[name])
            return None if value is None else value.decode("latin-1")

        return lookup, headers, peer, began

    def requires_host(self, req: falcon.asgi.Request) -> bool:
        """Return whether it is a request of HTTP/1.1 under our gunicorn worker; other servers check that themselves."""
        return CONNECTION in req.scope and req.scope["http_version"] == "1.1"

    async def run_blocking(self, function: Callable[..., None], argument: object) -> None:
        """Call a function that blocks in a thread of its own."""
        await running_loop().run_in_executor(None, function, argument)

    async def read_body(
        self, req: falcon.asgi.Request, announced: int | None, checks: BodyChecks, budget: AnyBudget | None
    ) -> Body:
        """Return the whole body."""
        if not isinstance(req, Request):
            return await collect_stream(req, checks.collector(announced, budget))
        event = req.first_event
        if event is None or event is NOTHING_YET:
            event = await req.receive()
        if event["type"] == "http.request" and not event.get("more_body"):
            body: bytes = event.get("body", b"")
            return body
        body_or_none = await collect_events(event, req.receive, checks.collector(announced, budget))
        if body_or_none is None:
            connection: ServerConnection | None = req.scope.get(CONNECTION)
            impatience = None if connection is None else connection.impatience
            raise cut_short() if impatience is None else impatience()
        return body_or_none

    async def read_body_by(
        self,
        deadline: float,
        req: falcon.asgi.Request,
        announced: int | None,
        checks: BodyChecks,
        budget: AnyBudget | None,
    ) -> Body:
        """Return the whole body, if it arrives before the deadline."""
        reading = self.read_body(req, announced, checks, budget)
        if is_on_asyncio():
            body = await self._uploads.read_by(deadline, reading)
        else:
            from penstock_falcon._asgi.trio_loop import read_within  # noqa: PLC0415 - only on trio

            body = await read_within(deadline - monotonic(), reading)
        if body is not None:
            return body
        connection: ServerConnection | None = req.scope.get(CONNECTION)
        if connection is not None:
            connection.end_after_response()
        raise late_body()

    def watch(self, call: Call, req: falcon.asgi.Request) -> AsgiWatchedCall:
        """Start to watch the client that waits for ``call``."""
        # A plain Falcon request has it as a private attribute, as long as Falcon does not rename that.
        receive = req.receive if isinstance(req, Request) else getattr(req, "_receive", None)
        connection: ServerConnection | None = req.scope.get(CONNECTION)
        if connection is not None:
            idle = call.timeouts.idle
            connection.write_idle = math.inf if idle is None else idle
        return AsgiWatchedCall(call, receive, self._watch, connection)

    def file_body(self, file: BodyFile, watched: AsgiWatchedCall) -> AsgiFileBody:
        """Return the body of a response that is in a file."""
        return AsgiFileBody(file, watched.connection)

    def responder(self, respond: AsyncResponder) -> AsyncResponder:
        """Return ``respond`` itself, which is what Falcon wants."""
        return respond
