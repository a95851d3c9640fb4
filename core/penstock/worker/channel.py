"""The worker's end of the socket to its engine."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

from penstock.socket_buffers import ReceiveBuffer, SendBuffer
from penstock.wire import Done, Message, pack_into
from penstock.worker.failure_reports import failure_of


class Channel:
    """The connection to the engine: bytes in, frames out.

    Reading and writing never block, except in ``flush_all``. Frames that are ready together leave in one write; those
    that the socket does not accept are kept, in order.

    Parameters
    ----------
    engine:
        The socket to the engine, non-blocking.
    """

    __slots__ = ("_buffer", "_engine", "_unsent")

    def __init__(self, engine: socket.socket) -> None:
        self._engine = engine
        self._buffer = ReceiveBuffer()
        self._unsent = SendBuffer()

    def fileno(self) -> int:
        """Return the socket's descriptor, for a loop to wait on."""
        return self._engine.fileno()

    def receive(self) -> bytes | None:
        """Return the bytes that have arrived: ``b""`` if the engine is gone, None if there are none yet."""
        return self._buffer.receive(self._engine)

    @property
    def is_flushed(self) -> bool:
        """True if everything posted has been written."""
        return self._unsent.is_empty

    def post(self, message: Message) -> None:
        """Add a message, to be written by the next flush."""
        pack_into(self._unsent.frames, message)

    def post_done(self, done: Done) -> None:
        """Add the end of an attempt. If it cannot be framed, send failures instead, so that its slot is freed."""
        try:
            pack_into(self._unsent.frames, done)
        except Exception as error:  # larger than a frame, or user data of a type that slipped through
            failed = Done(done.attempt, done.seconds, [failure_of(error)] * len(done.results))
            pack_into(self._unsent.frames, failed)

    def flush(self) -> bool:
        """Write as much as the socket accepts at once; return True if that was everything."""
        try:
            return self._unsent.flush(self._engine)
        except OSError:
            leave()

    def flush_all(self) -> None:
        """Write everything, however long that takes. Only for the end of a worker."""
        self._engine.setblocking(True)
        while not self.flush():
            pass


def leave() -> NoReturn:
    """End the worker at once: the engine is gone, so no result of its attempts is wanted."""
    os._exit(0)
