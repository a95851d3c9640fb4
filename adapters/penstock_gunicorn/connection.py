"""One client's connection: it can say whether it is in use, and makes sure that its last answer arrives."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Iterable
from http import HTTPStatus
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol

# How long a client may go on sending a body that nobody wants, after it has been told so.
LINGER_LIMIT = 5.0
# How much the kernel may hold that it has not sent yet, before a writer has to wait.
UNSENT_BYTES = 1 << 16

# gunicorn notes what its parser in C can do on the class that asks first, and then reads it from its own class: a
# subclass that asked would be left with the parser in Python, at ten times the cost.
ASGIProtocol._check_h1c_protocol_available()


class TrackedProtocol(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's HTTP connection, registered in ``worker.connections`` while it is open.

    gunicorn itself only counts connections, and at its end waits for idle ones as long as for busy ones. It answers
    what it cannot parse in plain text, and closes a connection over a body that is still coming: the reset that the
    kernel sends then may overtake the answer.
    """

    _closed: bool  # gunicorn's
    _has_refused = False
    _client_has_finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register, then serve."""
        self.worker.connections.add(self)
        # Else the kernel takes megabytes before a slow reader is felt, and reports room when many of them are gone.
        sock = transport.get_extra_info("socket")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up, then forget."""
        super().connection_lost(exc)
        self.worker.connections.discard(self)
        if self._task is None or self._task.done():
            self._drop_parser()
        else:
            self._task.add_done_callback(self._drop_parser)

    def _drop_parser(self, _task: object = None) -> None:
        """Break the circle of the connection and its parser.

        The parser in C holds methods of the connection and takes no part in garbage collection, so that without this
        each closed connection would be kept for ever: some 10 KB.
        """
        self._callback_parser = None

    def eof_received(self) -> bool:
        """Keep the connection if an upload is cut short, so that the client can still be told; else close it."""
        self._client_has_finished = True
        if not self._is_amid_body:
            return False
        self._body_receiver.signal_disconnect()
        return True

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request, and no application call of an earlier one still runs."""
        return bool(self._awaiting_request and not self._finishing_calls)

    @property
    def has_unsent(self) -> bool:
        """Whether some bytes of a response still wait for the client to read."""
        transport: Any = self.transport
        return transport is not None and transport.get_write_buffer_size() > 0

    def close_if_idle(self) -> None:
        """Close an idle connection as its keep-alive time-out would."""
        if self.is_idle:
            self._keepalive_timeout()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        if self.transport is not None:
            self.transport.abort()

    @property
    def _is_amid_body(self) -> bool:
        receiver = self._body_receiver
        return receiver is not None and not receiver._complete

    # ---- serving

    def _serve_http_request(self, request: Any, sockname: Any, peername: Any) -> Awaitable[bool]:
        """Run the application right here, in the connection's own task.

        gunicorn gives each request another task, in which an application may go on after its response. Ours never does,
        and the task would cost a tenth of the request.
        """
        served: Awaitable[bool] = self._handle_http_request(request, sockname, peername)
        return served

    # ---- what gunicorn answers by itself

    def _feed_callback_parser(self, data: bytes) -> bool:
        try:
            return bool(super()._feed_callback_parser(data))
        except ValueError:  # of its int(), for thousands of digits
            self._send_error_response(HTTPStatus.BAD_REQUEST, "A number in the headers is too long")
            self._close_transport()
            return False

    def _send_error_response(self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer in the form of all other errors, if the application knows it."""
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

    # ---- its end

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
    """Reads what nobody wants any more, until the client has read its answer and closes."""

    def __init__(self, connection: TrackedProtocol) -> None:
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection that was."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the connection that was."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Tell the connection that was."""
        self._connection.resume_writing()
