"""A client's connection: it knows whether it is idle, and makes sure that its last response arrives."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Awaitable
from http import HTTPStatus
from operator import attrgetter
from time import monotonic
from typing import Any, Protocol

from penstock.errors import RequestTimeout
from penstock.policies import Timeouts
from penstock_gunicorn.orderly_protocol import OrderlyProtocol
from penstock_gunicorn.peer_settings import PeerSettings
from penstock_gunicorn.peer_timers import UnreadTimer, UploadTimer

# Unsent data that the kernel may hold before writers have to wait.
UNSENT_BYTES = 1 << 16
NO_IDLE_LIMIT = math.inf
USUAL_IDLE: float = NO_IDLE_LIMIT if Timeouts.idle is None else Timeouts.idle


class HeldStream(Protocol):
    """A streamed response, as far as a connection is concerned."""

    @property
    def untaken_bytes(self) -> int:
        """The bytes that are held of it until the client has read what comes before."""


class TrackedProtocol(OrderlyProtocol):
    """gunicorn's HTTP connection, kept in ``worker.connections`` while it is open.

    gunicorn's own class has two more shortcomings, which this one removes. It only counts connections, so a stop waits
    for idle ones as long as for busy ones. It waits forever for a client that neither sends nor reads; ``worker.peers``
    looks at every connection again and again.

    The application finds the connection in its scope, as ``penstock.connection``.

    Attributes
    ----------
    request_began:
        The instant at which the first byte of the present request arrived; None if its head came in one piece.
    write_idle:
        Seconds for which the client may leave the present response unread.
    """

    _callback_parser: Any  # set by gunicorn
    _received_bytes = 0
    _resumptions = 0
    _upload: UploadTimer | None = None
    _unread: UnreadTimer | None = None
    request_began: float | None = None
    write_idle: float = NO_IDLE_LIMIT
    stream: HeldStream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection and start to serve it."""
        self._accepted_at = monotonic()
        self.worker.connections.add(self)
        # Otherwise the kernel buffers megabytes before a slow reader has any effect, and reports room again only after
        # many of them have been sent.
        sock = transport.get_extra_info("socket")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        super().connection_made(transport)
        if not self.worker.peers.admits_another():
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The server has as many connections as it may have")
            if not self.worker.peers.may_linger():
                self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up and unregister the connection."""
        super().connection_lost(exc)
        if self._flow_control is not None:
            # The application may be waiting for the client to read, and holds the response while it does.
            self._flow_control.resume_writing()
        self.worker.connections.discard(self)
        if self._task is None or self._task.done():
            self._drop_parser()
        else:
            self._task.add_done_callback(self._drop_parser)
            if self._awaiting_request:
                self._request_ready.set()  # the task ends now, and not after gunicorn's grace period

    def _drop_parser(self, _task: object = None) -> None:
        """Break the reference cycles between the connection and its parts.

        The C parser holds bound methods of the connection and does not support garbage collection. Without this, every
        closed connection would leak about 10 KB. The receiver of a body holds what has arrived of it, and all of that
        would wait for the collector.
        """
        self._callback_parser = None
        self._body_receiver = None

    def is_unused_since(self, instant: float) -> bool:
        """Return whether the connection is idle and, if it has had no request yet, was opened before the instant."""
        if not self.is_idle or self._closed or self._head_began is not None:
            return False
        return self.req_count > 1 or self._accepted_at <= instant

    @property
    def has_unsent(self) -> bool:
        """True while part of a response is still waiting for the client to read it."""
        return self._unsent_bytes > 0

    @property
    def held_bytes(self) -> int:
        """The bytes of a response that are held until the client has read what comes before."""
        return self._unsent_bytes + (0 if self.stream is None else self.stream.untaken_bytes)

    @property
    def _unsent_bytes(self) -> int:
        transport: Any = self.transport
        return 0 if transport is None else int(transport.get_write_buffer_size())

    is_closed = property(attrgetter("_closed"), doc="True once nothing can be sent any longer.")

    # ---- slow clients

    def head_began_by(self, instant: float) -> bool:
        """Return whether part of a request's head is still missing, although it began before the instant."""
        if not self._awaiting_request or self._closed:
            return False
        began = self._accepted_at if self.req_count == 1 else self._head_began
        return began is not None and began <= instant

    def sends_too_slowly(self, now: float, settings: PeerSettings) -> bool:
        """Return whether the application waits for a body that has not advanced enough. To be asked repeatedly."""
        if not self._is_amid_body or self._closed or self._body_receiver._waiter is None:
            self._upload = None
            return False
        if self._upload is None or self._upload.request != self.req_count:
            self._upload = UploadTimer(self.req_count, now, self._received_bytes)
        return self._upload.is_too_slow(now, self._received_bytes, settings)

    def reads_too_slowly(self, now: float, patience: float) -> bool:
        """Return whether nothing was read for ``write_idle`` or ``patience`` seconds. To be asked repeatedly."""
        unsent_bytes = self._unsent_bytes
        if not unsent_bytes:
            self._unread = None
            return False
        if self._unread is None:
            self._unread = UnreadTimer(now)
        self._unread.update(now, unsent_bytes, self._resumptions, self.transport.get_extra_info("socket"))
        return now - self._unread.progressed_at >= min(self.write_idle, patience)

    def read_last(self, otherwise: float) -> float:
        """Return the instant at which the client was last seen to read a response that it has not read in full."""
        return otherwise if self._unread is None else self._unread.progressed_at

    def refuse_head(self, seconds: float) -> None:
        """Answer that the head of the request did not arrive in time, and close the connection."""
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The head of the request did not arrive within {seconds:g} s")

    def refuse_body(self, settings: PeerSettings) -> None:
        """Let the application answer that the body arrives too slowly: it may have to undo something first."""
        rate, seconds = settings.min_body_rate, settings.body_timeout
        why = f"The body arrived too slowly: less than {rate} bytes per second for {seconds:g} s"
        self._stop_waiting(lambda: RequestTimeout(why))

    def pause_writing(self) -> None:
        """Stop the application from writing more, and have it counted what is held now."""
        super().pause_writing()
        self.worker.peers.writing_paused(self)

    def resume_writing(self) -> None:
        """Let the application go on writing."""
        self._resumptions += 1
        super().resume_writing()

    # ---- serving

    def _build_http_scope(self, request: Any, sockname: Any, peername: Any) -> Any:
        scope = super()._build_http_scope(request, sockname, peername)
        scope["penstock.connection"] = self
        self._promises_more = False
        self.request_began, self._head_began = self._head_began, None
        self.write_idle = USUAL_IDLE
        return scope

    def _serve_http_request(self, request: Any, sockname: Any, peername: Any) -> Awaitable[bool]:
        """Run the application in the connection's own task.

        gunicorn starts a task per request, in which an application may go on after its response. Ours never does, and
        the task would add a tenth to the cost of a request.
        """
        served: Awaitable[bool] = self._handle_http_request(request, sockname, peername)
        return served

    # ---- errors that gunicorn answers itself

    def _feed_callback_parser(self, data: bytes) -> bool:
        self._received_bytes += len(data)
        try:
            is_open = bool(super()._feed_callback_parser(data))
        except ValueError:  # from int(), if a number has thousands of digits
            self._send_error_response(HTTPStatus.BAD_REQUEST, "A number in the headers is too long")
            self._close_transport()
            return False
        if self._current_request is None and self._head_began is None:
            self._head_began = monotonic()
        return is_open
