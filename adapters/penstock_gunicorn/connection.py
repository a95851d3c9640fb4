"""A client's connection: it knows whether it is idle, and makes sure that its last response arrives."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Iterable
from http import HTTPStatus
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol

# The time in which a client may go on sending a body after its request was refused.
LINGER_LIMIT = 5.0
# Unsent data that the kernel may hold before writers have to wait.
UNSENT_BYTES = 1 << 16

# gunicorn stores whether its C parser is available on the class that checks first, but reads it from its own class. If
# a subclass were the first to check, every connection would use the Python parser, at ten times the cost.
ASGIProtocol._check_h1c_protocol_available()


class TrackedProtocol(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's HTTP connection, kept in ``worker.connections`` while it is open.

    gunicorn's own class has three shortcomings, which this one removes. It only counts connections, so a stop waits for
    idle ones as long as for busy ones. It answers requests that it cannot parse in plain text. It closes a connection
    while a body is still arriving, and the kernel then sends a reset, which may overtake the response.
    """

    _closed: bool  # set by gunicorn, like the next one
    _body_receiver: Any
    _has_refused = False
    _client_has_finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection and start to serve it."""
        self.worker.connections.add(self)
        # Otherwise the kernel buffers megabytes before a slow reader has any effect, and reports room again only after
        # many of them have been sent.
        sock = transport.get_extra_info("socket")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up and unregister the connection."""
        super().connection_lost(exc)
        self.worker.connections.discard(self)
        if self._task is None or self._task.done():
            self._drop_parser()
        else:
            self._task.add_done_callback(self._drop_parser)

    def _drop_parser(self, _task: object = None) -> None:
        """Break the reference cycles between the connection and its parts.

        The C parser holds bound methods of the connection and does not support garbage collection. Without this, every
        closed connection would leak about 10 KB. The receiver of a body holds what has arrived of it, and all of that
        would wait for the collector.
        """
        self._callback_parser = None
        self._body_receiver = None

    def eof_received(self) -> bool:
        """Close the connection, except in the middle of an upload: that client can still be sent a response."""
        self._client_has_finished = True
        if not self._is_amid_body:
            return False
        self._body_receiver.signal_disconnect()
        return True

    @property
    def is_idle(self) -> bool:
        """True while waiting for a request, if no application call for an earlier one is still running."""
        return bool(self._awaiting_request and not self._finishing_calls)

    @property
    def has_unsent(self) -> bool:
        """True while part of a response is still waiting for the client to read it."""
        transport: Any = self.transport
        return transport is not None and transport.get_write_buffer_size() > 0

    def close_if_idle(self) -> None:
        """Close the connection if it is idle, as its keep-alive timeout would."""
        if self.is_idle:
            self._keepalive_timeout()

    def abort(self) -> None:
        """Close immediately and discard unsent data."""
        if self.transport is not None:
            self.transport.abort()

    @property
    def _is_amid_body(self) -> bool:
        receiver = self._body_receiver
        return receiver is not None and not receiver._complete

    # ---- serving

    def _serve_http_request(self, request: Any, sockname: Any, peername: Any) -> Awaitable[bool]:
        """Run the application in the connection's own task.

        gunicorn starts a task per request, in which an application may go on after its response. Ours never does, and
        the task would add a tenth to the cost of a request.
        """
        served: Awaitable[bool] = self._handle_http_request(request, sockname, peername)
        return served

    # ---- errors that gunicorn answers itself

    def _feed_callback_parser(self, data: bytes) -> bool:
        try:
            return bool(super()._feed_callback_parser(data))
        except ValueError:  # from int(), if a number has thousands of digits
            self._send_error_response(HTTPStatus.BAD_REQUEST, "A number in the headers is too long")
            self._close_transport()
            return False

    def _send_error_response(self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer in the format of all other errors, if the application provides it."""
        self._has_refused = True
        answer = getattr(getattr(self.worker.asgi, "penstock", None), "answer_unreadable", None)
        if answer is None:
            super()._send_error_response(status, message, extra_headers)
            return
        headers, body = answer(status, message)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in [*headers, *extra_headers]]
        lines += [f"content-length: {len(body)}", "connection: close", "", ""]
        self._safe_write("\r\n".join(lines).encode("latin-1") + body)

    # ---- closing

    def _close_transport(self) -> None:
        is_unread = self._has_refused or self._is_amid_body
        if self.transport is None or self._closed or self._client_has_finished or not is_unread:
            super()._close_transport()
            return
        self._closed = True
        lingering = LingeringProtocol(self)
        self.transport.write_eof()
        self.transport.set_protocol(lingering)
        self._resume_reading()
        self.worker.loop.call_later(LINGER_LIMIT, self.transport.close)


class LingeringProtocol(asyncio.Protocol):
    """Discards what the client still sends, until it has read its response and closes the connection."""

    def __init__(self, connection: TrackedProtocol) -> None:
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        """Forward the call to the connection."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Forward the call to the connection."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Forward the call to the connection."""
        self._connection.resume_writing()
