"""Small whole requests for known endpoints, served without ASGI: parsed request, policies, job, one write.

Everything else about a connection is gunicorn's: its parser with all its limits and refusals, and its way through ASGI
for any request that is unusual in whatever respect. Which way a request goes is decided when its head is complete. One
whose body is not complete by then, or that is answered with a stream, is handed over to the usual way.

gunicorn's task of the connection waits for its next request meanwhile, and does not notice. It has to have begun to
wait, so what arrives on a new connection before the task's first turn is parsed after that turn.
"""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import Any, Final

from gunicorn.asgi.protocol import _CACHED_SERVER_HEADER, _NO_COPY_BODY_SIZE, _get_cached_date_header

from penstock.hosting import SMALL_BODY_BYTES
from penstock_gunicorn.connection import TrackedProtocol

# The states of the present request, as far as this class is concerned.
ELSEWHERE: Final = "elsewhere"  # there is none, or gunicorn serves it
ARRIVING: Final = "arriving"  # its head is complete
BEGINNING: Final = "beginning"  # it is being passed on to its endpoint
RUNNING: Final = "running"  # its endpoint has it
ANSWERED: Final = "answered"  # the response is written
HELD: Final = "held"  # the same, but the client reads so slowly that the next request has to wait

# A request with any of these takes the usual way. gunicorn compares the headers that name a scheme with each other.
_UNUSUAL: Final = frozenset({
    b"connection", b"content-encoding", b"expect", b"transfer-encoding", b"upgrade",
    b"x-forwarded-protocol", b"x-forwarded-ssl",
})  # fmt: skip
NO_HEADERS: Final[dict[bytes, bytes]] = {}


def _keeps_alive_only(headers: dict[bytes, bytes]) -> bool:
    """Return whether the only unusual header says what is usual in HTTP/1.1."""
    return len(_UNUSUAL.intersection(headers)) == 1 and headers.get(b"connection", b"").lower() == b"keep-alive"


class DirectProtocol(TrackedProtocol):
    """A connection that serves small requests to the application's ``direct_endpoints`` itself.

    Attributes
    ----------
    peer, exchange, call, on_progress:
        As an endpoint wants them: see ``penstock_falcon``'s ``DirectConnection``.
    """

    def __init__(self, worker: Any) -> None:
        super().__init__(worker)
        self._endpoints: dict[bytes, Any] = {}
        if self._keepalive and not self._has_hooks:
            self._endpoints = getattr(worker.asgi, "direct_endpoints", {})
        self._stage: str = ELSEWHERE
        self._endpoint: Any = None
        self._headers = NO_HEADERS
        self._body = b""
        self._is_whole = False
        self._begun: tuple[Any, Any] | None = None
        self._descriptor = -1
        self._was_active = False
        self._idle_since = 0.0
        self._early = b""
        self.peer = ""
        self.exchange: Any = None
        self.call: Any = None
        self.on_progress: Any = self._on_progress

    @property
    def _has_hooks(self) -> bool:
        """True if gunicorn is configured to do something with each request."""
        has_log = bool(self.log.access_log_enabled)
        return has_log or self._pre_request is not None or self._post_request is not None or self._uses_uwsgi

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the peer's address, and start to serve the connection."""
        self._descriptor = transport.get_extra_info("socket").fileno()
        peername = transport.get_extra_info("peername")
        self.peer = peername[0] if isinstance(peername, tuple) else ""
        super().connection_made(transport)
        if not hasattr(self._callback_parser, "asgi_headers"):
            self._endpoints = {}  # gunicorn's own parser in Python is not fast enough for the detour to matter

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the job of the present request, and clean up."""
        super().connection_lost(exc)
        begun = self.take_begun()
        if begun is not None:  # handed over, and the application has not been called
            self._endpoint.abandon(*begun, is_recorded=False)
        elif self.call is not None:
            self._endpoint.abandon(self.exchange, self.call)
        self.on_progress = None  # it refers to this connection

    def outlives_keep_alive(self, now: float) -> bool:
        """Return whether it is idle for too long after a request that gunicorn has not seen. To be asked repeatedly."""
        if not self.is_idle or self._keepalive_handle is not None or self.req_count == 1:
            return False
        if self._was_active:
            self._was_active = False
            self._idle_since = now
        return bool(now - self._idle_since >= self._keepalive)

    # ---- what the parser reports

    def _on_headers_complete(self) -> bool:
        if self._awaiting_request and not self._closed:
            parser = self._callback_parser
            endpoint = self._endpoints.get(parser.path)
            if endpoint is not None and self._is_usual(parser):
                self._endpoint = endpoint
                self._stage = ARRIVING
                return False
        return bool(super()._on_headers_complete())

    def _is_usual(self, parser: Any) -> bool:
        """Return whether the request may be served directly; if so, keep its headers."""
        if parser.method != b"POST" or parser.http_version != (1, 1):
            return False
        if (parser.content_length or 0) > SMALL_BODY_BYTES:
            return False
        pairs = parser.asgi_headers
        headers = self._headers = dict(pairs)
        if len(headers) != len(pairs) or b"_" in b"".join(headers):
            return False
        return _UNUSUAL.isdisjoint(headers) or _keeps_alive_only(headers)

    def _on_body(self, chunk: bytes) -> None:
        if self._stage is ARRIVING:
            self._body += chunk
        else:
            super()._on_body(chunk)

    def _on_message_complete(self) -> None:
        if self._stage is ARRIVING:
            self._is_whole = True
        else:
            super()._on_message_complete()

    def _feed_callback_parser(self, data: bytes) -> bool:
        if self.req_count:
            return self._feed_now(data)
        # gunicorn's task has not had its first turn, so a request would take the way through ASGI.
        if not self._early:
            self._head_began = monotonic()
            self.worker.loop.call_soon(self._feed_early)
        self._early += data
        return True

    def _feed_early(self) -> None:
        early, self._early = self._early, b""
        if early and not self._closed and self._callback_parser is not None:
            self._feed_now(early)

    def eof_received(self) -> bool:
        """Close the connection, except in the middle of an upload."""
        self._feed_early()
        return super().eof_received()

    def _feed_now(self, data: bytes) -> bool:
        is_open = super()._feed_callback_parser(data)
        # Not from within the parser's callbacks: the parser must be left before it is used for the next request.
        if self._stage is ARRIVING and is_open:
            self._serve()
        return is_open

    # ---- from one request to the next

    def _serve(self) -> None:
        """Serve the request whose head is complete, and those that the client has sent with it."""
        while self._stage is ARRIVING:
            if not self._is_whole:
                self.hand_over()
                return
            if self._begin():
                self._end()

    def _begin(self) -> bool:
        """Pass the request on to its endpoint; return whether it was answered at once."""
        self._stage = BEGINNING
        self._awaiting_request = False
        if self._keepalive_handle is not None:
            self._cancel_keepalive_timer()
        self.request_began = self._head_began
        self._head_began = None
        headers, body = self._headers, self._body
        self._headers, self._body, self._is_whole = NO_HEADERS, b"", False
        try:
            self._endpoint.begin(self, headers, body)
        except asyncio.CancelledError:  # raised by a policy: the request is to be given up
            self._stage = ELSEWHERE
            self.abort()
        if self._stage is BEGINNING:
            self._stage = RUNNING
        return self._stage is ANSWERED

    def _on_progress(self) -> None:
        try:
            self._endpoint.progress(self)
        except Exception:  # this is the engine's turn, which must go on for all other jobs
            self.log.exception("A request could not be answered")
            self.abort()

    def respond(self, head: str, body: bytes, *, is_last: bool) -> None:
        """Write a response, and go on to the next request: see ``DirectConnection``."""
        self.call = self.exchange = None
        is_beginning = self._stage is BEGINNING
        self._stage = ANSWERED
        if is_last or self.worker.is_leaving:
            self._is_last = True
            head += "connection: close\r\n"
        parts = (b"HTTP/1.1 ", head.encode("latin-1"), _CACHED_SERVER_HEADER, _get_cached_date_header(), b"\r\n", body)
        if self._closed:
            pass  # the client has gone
        elif len(body) < _NO_COPY_BODY_SIZE:
            self._write_now(b"".join(parts))
        else:
            self.transport.writelines(parts)
        if not is_beginning:
            self._end()
            if self._stage is ARRIVING:
                self._serve()

    def _write_now(self, data: bytes) -> None:
        """Write, and not only at the end of the loop's turn, if nothing is waiting to be written before it."""
        transport: Any = self.transport
        if self._is_ssl or transport.is_closing() or transport.get_write_buffer_size():
            self._safe_write(data)
            return
        try:
            sent = os.write(self._descriptor, data)
        except OSError:  # no room, or no connection: the transport knows what to do
            sent = 0
        if sent < len(data):
            self._safe_write(data[sent:])

    def _end(self) -> None:
        """Make the connection ready for its next request, which may have arrived already."""
        self._stage = ELSEWHERE
        parser = self._callback_parser
        if self._closed or parser is None:
            return
        worker = self.worker
        worker.nr += 1
        if worker.nr >= worker.max_requests:
            worker.is_leaving = True  # as gunicorn's ``alive``
        if self._is_last or parser.remaining_truncated:
            self._close_at_once()
        elif self._flow_control.write_paused:
            self._stage = HELD
        else:
            self._await_next(parser)

    def _await_next(self, parser: Any) -> None:
        self.req_count += 1
        self._was_active = self._awaiting_request = True
        tail = parser.remaining()
        parser.reset()
        if self._reading_paused:
            self._resume_reading()
        if tail:
            super()._feed_callback_parser(tail)

    def resume_writing(self) -> None:
        """Go on writing; the client has read enough for its next request to be served."""
        super().resume_writing()
        if self._stage is HELD:
            self._stage = ELSEWHERE
            if not self._closed and self._callback_parser is not None:
                self._await_next(self._callback_parser)
                self._serve()

    def hand_over(self) -> None:
        """Leave the present request to gunicorn, and so to the application."""
        self._stage = ELSEWHERE
        if self.call is not None:
            self._begun = self.exchange, self.call
            self.call = self.exchange = None
            self._is_whole = True
        super()._on_headers_complete()  # the parser still has the head
        if self._body:
            self._body_receiver.feed(self._body)
        if self._is_whole:
            self._body_receiver.set_complete()
        self._headers, self._body, self._is_whole = NO_HEADERS, b"", False

    def take_begun(self) -> tuple[Any, Any] | None:
        """Return, once, the exchange and the call of a request that was handed over while its job was running."""
        begun, self._begun = self._begun, None
        return begun
