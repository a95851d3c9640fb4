"""One end of the connection between a shared engine and a host: messages in and out, a frame for each turn.

A second socket, whose end the host sends first of all, carries the descriptors of large bodies, each ahead of the
message that announces it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from penstock.body_files import BodyFile, FileMissingError, receive_descriptor, receive_file, send_file
from penstock.engine.frame_writer import FrameWriter
from penstock.engine.reactors.reactor import Reactor
from penstock.engine.sharing.host_messages import ToEngine, ToHost, pack_together
from penstock.socket_buffers import ReceiveBuffer
from penstock.wire import FrameReader, WireError


class MessageLink:
    """A connected socket that carries messages.

    Parameters
    ----------
    reactor:
        The loop.
    connection:
        A connected socket, which the link owns.
    buffer:
        The process's receive buffer, which all its links share.
    decode:
        Turns the payload of a frame into messages.
    on_messages:
        Called with the messages that have arrived together.
    on_end:
        Called once if the other end has closed the connection, or what it sends cannot be read. Not after ``close``.
    files:
        This end of the socket for descriptors; None if the other end is to send it.
    """

    def __init__(
        self,
        reactor: Reactor,
        connection: socket.socket,
        buffer: ReceiveBuffer,
        decode: Callable[[memoryview], list[Any]],
        *,
        on_messages: Callable[[list[Any]], None],
        on_end: Callable[[], None],
        files: socket.socket | None = None,
    ) -> None:
        connection.setblocking(False)
        self._reactor = reactor
        self._socket = connection
        self._buffer = buffer
        self._reader = FrameReader(decode)
        self._writer = FrameWriter(reactor, connection)
        self._on_messages = on_messages
        self._on_end = on_end
        self._files = files
        self._unsent: list[ToEngine | ToHost] = []
        self.is_closed = False
        reactor.watch_readable(connection.fileno(), self._on_readable)

    def send(self, message: ToEngine | ToHost) -> None:
        """Send a message, at the end of this turn of the loop, with all others of the turn."""
        unsent = self._unsent
        if not unsent:
            self._reactor.call_soon(self._flush)
        unsent.append(message)

    def _flush(self) -> None:
        messages, self._unsent = self._unsent, []
        if not self.is_closed:
            pack_together(self._writer.frames, messages)
            if not self._writer.is_blocked:
                self._writer.flush()

    def send_file(self, file: BodyFile) -> bool:
        """Send a file, to be announced by the next message that is sent; return False if that is not possible now."""
        return self._files is not None and send_file(self._files, file)

    def receive_file(self, size_bytes: int) -> BodyFile:
        """Return the file that a message has announced with this size.

        Raises
        ------
        FileMissingError
            If it has not come.
        OSError
            If this process had no descriptor left for it.
        """
        if self._files is None:
            raise FileMissingError("there is no socket for files")
        return receive_file(self._files, size_bytes)

    def _receive_socket(self) -> bytes | None:
        """Take the other end's socket for descriptors, which comes with the very first byte."""
        _, descriptor, _ = receive_descriptor(self._socket, 1)
        if descriptor is None:
            return b""
        self._files = socket.socket(fileno=descriptor)
        self._files.setblocking(False)
        return None

    def _on_readable(self) -> None:
        try:
            data = self._buffer.receive(self._socket) if self._files is not None else self._receive_socket()
        except OSError:
            data = b""
        if data is None:
            return
        try:
            frames = self._reader.feed(data) if data else None
        except WireError:
            frames = None
        if frames is None:
            self.close()
            self._on_end()
            return
        for messages in frames:
            self._on_messages(messages)

    def close(self) -> None:
        """Send what is unsent, as far as the socket takes it at once, and close. Idempotent."""
        if self.is_closed:
            return
        if self._unsent:
            self._flush()
        self.is_closed = True
        self._reactor.watch_readable(self._socket.fileno(), None)
        self._writer.close()
        self._socket.close()
        if self._files is not None:
            self._files.close()
