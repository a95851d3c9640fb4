"""Reading, waiting and writing under WSGI."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import falcon

from penstock.errors import MalformedRequest
from penstock.hosting import LARGE_BODY_BYTES, Body, BodyFile, ThreadedCall
from penstock_falcon._wsgi.wsgi_hangups import WsgiWatchedCall
from penstock_falcon._wsgi.wsgi_stream_body import WsgiStreamBody
from penstock_falcon.request_checks import AnyBudget, BodyChecks, BodyCollector, cut_short, dropped_on_error
from penstock_falcon.transport import FILE_PIECE_BYTES, AsyncResponder, HeaderLookup, Transport

T = TypeVar("T")

_READ_BYTES = 64 * 1024


class WsgiTransport(Transport):
    """The primitives under WSGI. They block the server's thread, and never suspend."""

    stream_body = WsgiStreamBody

    def identify(self, req: falcon.Request) -> tuple[HeaderLookup, None, str, None]:
        """Return the look-up of the request's headers, and the peer's address; no WSGI server tells the instant."""
        env = req.env

        def lookup(name: str) -> str | None:
            key = name.upper().replace("-", "_")
            if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                return env.get(key) or None  # a server may set them although the client did not send them
            value: str | None = env.get(f"HTTP_{key}")
            return value

        return lookup, None, env.get("REMOTE_ADDR", ""), None

    def requires_host(self, req: falcon.Request) -> bool:
        """Return whether it is a request of HTTP/1.1."""
        return bool(req.env.get("SERVER_PROTOCOL") == "HTTP/1.1")

    async def run_blocking(self, function: Callable[..., None], argument: object) -> None:
        """Call a function that blocks; this is a thread that may wait."""
        function(argument)

    async def read_body(
        self, req: falcon.Request, announced: int | None, checks: BodyChecks, budget: AnyBudget | None
    ) -> Body:
        """Return the whole body."""
        return read_input(req.env, announced, checks.collector(announced, budget))

    def watch(self, call: ThreadedCall, req: falcon.Request) -> WsgiWatchedCall:
        """Start to watch the client that waits for ``call``."""
        return WsgiWatchedCall(call, req.env.get("gunicorn.socket"))

    def file_body(self, file: BodyFile, watched: WsgiWatchedCall) -> Iterator[bytes]:
        """Return the body of a response that is in a file."""
        return _pieces_of(file)

    def responder(self, respond: AsyncResponder) -> Callable[..., None]:
        """Return ``respond`` as a plain function."""

        def respond_here(*arguments: Any, **options: Any) -> None:
            run_to_end(respond(*arguments, **options))

        return respond_here


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, as if it were a plain function."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} suspended, and there is no event loop to resume it")


def read_input(env: dict[str, Any], announced: int | None, collector: BodyCollector) -> Body:
    """Return the whole body, by way of ``collector`` if it is large, or its length was not announced.

    Raises
    ------
    PayloadTooLarge
        As soon as the pieces of a body are over the limit.
    MalformedRequest
        If it is cut short, or the server does not mark its end.
    """
    source = env["wsgi.input"]
    try:
        if announced is not None:
            if announced > LARGE_BODY_BYTES:
                return _read_to_end(source, collector, announced)
            return source.read(announced) if announced else b""
        if env.get("wsgi.input_terminated"):
            return _read_to_end(source, collector)
    except OSError:
        # This includes gunicorn's own errors for broken chunks.
        raise cut_short() from None
    if env.get("HTTP_TRANSFER_ENCODING"):
        raise MalformedRequest("This server does not mark the end of a chunked body: send it with a Content-Length")
    return b""


def _read_to_end(source: Any, collector: BodyCollector, left_bytes: float = math.inf) -> Body:
    """Return what there is to read, and no more than ``left_bytes``: some servers would wait for more than was sent."""
    with dropped_on_error(collector):
        while left_bytes and (piece := source.read(int(min(_READ_BYTES, left_bytes)))):
            left_bytes -= len(piece)
            collector.add(piece)
            if collector.is_due:
                collector.write_out()
        return collector.finish()


def _pieces_of(file: BodyFile) -> Iterator[bytes]:
    place = 0
    while piece := file.read(place, FILE_PIECE_BYTES):
        place += len(piece)
        yield piece
