"""The orderly end of a client's connection: not between a request and its response, nor before its last response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol

from penstock.errors import Draining, PenstockError
from penstock_gunicorn.packet_filters import drop_data, end_stream, keep_data, unread_bytes

# The time in which a client may go on sending a body after its request was refused.
LINGER_LIMIT = 5.0

# gunicorn stores whether its C parser is available on the class that checks first, but reads it from its own class. If
# a subclass were the first to check, every connection would use the Python parser, at ten times the cost.
ASGIProtocol._check_h1c_protocol_available()


class OrderlyProtocol(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's HTTP connection with an orderly end.

    gunicorn's own class has three shortcomings, which this one removes. It closes an idle connection although the next
    request may have arrived. It answers requests that it cannot parse in plain text. It closes a connection while a
    body is still arriving, and the kernel then sends a reset, which may overtake the response.

    Attributes
    ----------
    impatience:
        Makes the error that says why the rest of the body is not waited for; None while it is.
    stream:
        The present response, while it is a stream.
    """

    _closed: bool  # set by gunicorn, like the next one
    _body_receiver: Any
    _current_request: Any
    _has_refused = False
    _client_has_finished = False
    _head_began: float | None = None
    _is_last = False  # the present response has announced that it is the connection's last
    _promises_more = False  # it has begun, and has announced nothing of the kind
    impatience: Callable[[], PenstockError] | None = None
    is_aborted = False
    stream: Any = None

    # ---- what is on its way

    @property
    def is_idle(self) -> bool:
        """True while waiting for a request, if no application call for an earlier one is still running."""
        if not self._awaiting_request or self._finishing_calls:
            return False
        return not self._request_ready.is_set()  # it is, from the end of a head until gunicorn's task has its turn

    @property
    def is_arriving(self) -> bool:
        """True while part of a request is here, and the application does not have the whole of it yet."""
        if self.is_idle or not self.req_count:  # or gunicorn's task has not had its first turn
            return self._head_began is not None or unread_bytes(self._socket) > 0
        return self._awaiting_request or self._is_amid_body

    @property
    def may_get_another(self) -> bool:
        """True if the client may have a request to send: no response has announced yet that it is the last."""
        return self.is_idle or self.is_arriving or self._promises_more

    @property
    def _is_amid_body(self) -> bool:
        receiver = self._body_receiver
        return receiver is not None and not receiver._complete

    def eof_received(self) -> bool:
        """Close the connection, except in the middle of an upload: that client can still be sent a response."""
        self._client_has_finished = True
        if not self._is_amid_body:
            return False
        self._body_receiver.signal_disconnect()
        return not self._is_ssl  # over TLS, nothing can be sent any more

    # ---- refusals

    def refuse_rest(self) -> None:
        """Answer a request of which only a part is here: the server does not wait for the rest, because it stops."""
        if self._closed:
            return
        if self.is_idle and self._head_began is not None:
            self._refuse(Draining.status, "The server is shutting down")
        elif self._is_amid_body and self.impatience is None:
            self._stop_waiting(lambda: Draining("the server is shutting down"))

    def _stop_waiting(self, impatience: Callable[[], PenstockError]) -> None:
        self.impatience = impatience
        # The next event is then a disconnection. An exception for the waiter would make a cycle of frames and keep what
        # has arrived of the body.
        self._body_receiver._body_wait_expired = True
        self._body_receiver._wake_waiter()

    def end_after_response(self) -> None:
        """Close the connection once the present response has been sent."""
        self._current_request.must_close = True

    def _refuse(self, status: int, message: str) -> None:
        self._send_error_response(status, message)
        self._close_at_once()

    def _send_error_response(self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer in the format of all other errors, if the application provides it."""
        self._has_refused = True
        answer = getattr(getattr(self.worker.asgi, "penstock", None), "answer_unreadable", None)
        if answer is None:
            super()._send_error_response(status, message, extra_headers)
            return
        # Not from the parser: after a head that it has refused, the one in C crashes when it is asked for the headers.
        received = dict(self._current_request.headers_bytes) if self._is_amid_body else {}
        headers, body = answer(status, message, received)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in [*headers, *extra_headers] if name != "connection"]
        lines += [f"content-length: {len(body)}", "connection: close", "", ""]
        self._safe_write("\r\n".join(lines).encode("latin-1") + body)

    # ---- closing

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:  # noqa: FBT001 - gunicorn's signature
        """Return whether to say that the connection is closed after this response, as it then is.

        One whose response has begun before is kept: its client may have sent the next request already.
        """
        # The rest of a body could be taken for the next request, so gunicorn closes then.
        if self.worker.is_leaving or self._is_amid_body or super()._will_close(request, response_requires_close):
            self._is_last = True
        self._promises_more = not self._is_last
        return self._is_last

    def close_if_idle(self) -> None:
        """Close the connection if it is idle, unless the next request is on its way into this process."""
        if not self.is_idle or self._head_began is not None or self._closed:
            return
        sock = self._socket
        if not self._is_ssl:  # it has to see the client's end of the session
            drop_data(sock)
        if unread_bytes(sock):
            keep_data(sock)
        elif self._is_ssl or self.transport.get_write_buffer_size():
            self._close_at_once()
        else:
            # At once, and not in the loop's next turn: a client that does not know yet might send a request until then.
            end_stream(sock)
            self._closed = True
            self.transport.close()
            self._request_ready.set()

    def _keepalive_timeout(self) -> None:
        """Close the connection; called by gunicorn's timer."""
        self.close_if_idle()

    def _close_at_once(self) -> None:
        super()._keepalive_timeout()  # ends the connection's task, too

    @property
    def _socket(self) -> Any:
        return self.transport.get_extra_info("socket")

    def abort(self) -> None:
        """Close immediately and discard unsent data."""
        self.is_aborted = True
        if self.transport is not None:
            self.transport.abort()

    def _close_transport(self) -> None:
        is_unread = self._has_refused or self._is_amid_body
        if self.transport is None or self._closed or self._client_has_finished or not is_unread:
            super()._close_transport()
            return
        self._closed = True
        lingering = LingeringProtocol(self)
        if not self._is_ssl:  # TLS ends both directions at once
            self.transport.write_eof()
        self.transport.set_protocol(lingering)
        self._resume_reading()
        self.worker.loop.call_later(LINGER_LIMIT, self.transport.close)


class LingeringProtocol(asyncio.Protocol):
    """Discards what the client still sends, until it has read its response and closes the connection."""

    def __init__(self, connection: OrderlyProtocol) -> None:
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
