"""One client's connection, relayed to the gRPC library over a Unix socket of this process.

The library can neither serve a socket that other processes serve too, nor tell its clients to go elsewhere before it
stops: calls that arrive as it stops are lost. So the connections are accepted here, as those of HTTP are, with the same
sockets and the same TLS; and a client is asked to leave by a frame that is put between two frames of the library.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from penstock_grpc.frame_watch import LEAVE_NOTICE, FrameWatch

# Held for a client that does not read; beyond it, nothing more is taken from the library.
HELD_BYTES = 256 * 1024


class ConnectionOwner(Protocol):
    """The owner of connections."""

    def opened(self, connection: RelayedConnection) -> None:
        """Have the library serve a new connection."""

    def closed(self, connection: RelayedConnection) -> None:
        """Note that a connection has ended."""


class RelayedConnection(asyncio.Protocol):
    """The client's side of a connection.

    Parameters
    ----------
    owner:
        The owner.

    Attributes
    ----------
    peer:
        The address of the client; "" if it has none.
    """

    def __init__(self, owner: ConnectionOwner) -> None:
        self._owner = owner
        self._client: asyncio.Transport
        self._library: asyncio.Transport | None = None
        self._early = b""
        self._frames = FrameWatch()
        self._is_leaving = False
        self._is_notified = False
        self._is_over = False
        self._has_accepted = False
        """True once the library has sent something, and so has accepted the connection."""
        self.peer = ""

    # ---- the client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have the library serve the connection; nothing is read until it does."""
        client = self._client = cast("asyncio.Transport", transport)  # uvloop's are none by class
        client.set_write_buffer_limits(high=HELD_BYTES)
        client.pause_reading()
        name = client.get_extra_info("peername")
        self.peer = name[0] if isinstance(name, tuple) else ""
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Pass on what the client sends. Some event loops read once before they pause."""
        if self._library is not None:
            self._library.write(data)
        else:
            self._early += data

    def pause_writing(self) -> None:
        """Take nothing more from the library: the client does not read."""
        if self._library is not None:
            self._library.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self._library is not None:
            self._library.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Have the library cancel the calls of a client that has left."""
        self._leave_library()
        self._end()

    # ---- the library's side

    def connected(self, library: asyncio.Transport) -> None:
        """Begin to relay."""
        self._library = library
        if self._client.is_closing():
            self._leave_library()
            return
        if self._early:
            library.write(self._early)
            self._early = b""
        self._client.resume_reading()

    def pass_to_client(self, data: bytes) -> None:
        """Pass on what the library sends, with the notice at the first place for it, if it is due."""
        self._has_accepted = True
        if self._is_over:
            self._leave_library()
            return
        place = self._frames.pass_on(data)
        if self._is_leaving and not self._is_notified and place is not None:
            self._is_notified = True
            data = data[:place] + LEAVE_NOTICE + data[place:]
        self._client.write(data)

    def set_client_reading(self, is_on: bool) -> None:  # noqa: FBT001 - one value, of two
        """Stop to read from the client while the library takes nothing, and go on."""
        if self._client.is_closing():
            return
        if is_on:
            self._client.resume_reading()
        else:
            self._client.pause_reading()

    def library_lost(self) -> None:
        """Close the connection, once everything is written."""
        self._library = None
        self._client.close()
        self._end()

    # ---- the end

    def ask_to_leave(self) -> None:
        """Ask the client to make its next calls on another connection."""
        self._is_leaving = True
        if not self._is_notified and self._frames.is_between and not self._client.is_closing():
            self._is_notified = True
            self._client.write(LEAVE_NOTICE)

    def abort(self) -> None:
        """Close the connection at once."""
        self._client.abort()

    def _leave_library(self) -> None:
        """Close the library's side, once the library has accepted the connection.

        At a connection whose other end is closed before that, the library stops to accept any.
        """
        if self._library is not None and self._has_accepted:
            self._library.abort()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._owner.closed(self)


class LibraryConnection(asyncio.Protocol):
    """The library's side of a connection."""

    def __init__(self, connection: RelayedConnection) -> None:
        self._client = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to relay."""
        library = cast("asyncio.Transport", transport)
        library.set_write_buffer_limits(high=HELD_BYTES)
        self._client.connected(library)

    def data_received(self, data: bytes) -> None:
        """Pass on what the library sends."""
        self._client.pass_to_client(data)

    def pause_writing(self) -> None:
        """Read nothing more from the client: the library does not take it."""
        self._client.set_client_reading(False)

    def resume_writing(self) -> None:
        """Go on."""
        self._client.set_client_reading(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the client's connection."""
        self._client.library_lost()
