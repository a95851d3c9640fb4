"""The worker's end of the socket to its engine."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

from penstock.receive_buffer import ReceiveBuffer
from penstock.wire import Done, Message, pack
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

    __slots__ = ("_buffer", "_engine", "_frames", "_rest")

    def __init__(self, engine: socket.socket) -> None:
        self._engine = engine
        self._buffer = ReceiveBuffer()
        self._frames: list[bytes] = []
        self._rest = memoryview(b"")  # the part of the last write that the socket did not accept; precedes _frames

    def fileno(self) -> int:
        """Return the socket's descriptor, for a loop to wait on."""
        return self._engine.fileno()

    def receive(self) -> bytes | None:
        """Return the bytes that have arrived: ``b""`` if the engine is gone, None if there are none yet."""
        return self._buffer.receive(self._engine)

    @property
    def is_flushed(self) -> bool:
        """True if everything posted has been written."""
        return not self._frames and not self._rest

    def post(self, message: Message) -> None:
        """Add a message, to be written by the next flush."""
        self._frames.append(pack(message))

    def post_done(self, done: Done) -> None:
        """Add the end of an attempt. If it cannot be framed, send failures instead, so that its slot is freed."""
        try:
            self._frames.append(pack(done))
        except Exception as error:  # larger than a frame, or user data of a type that slipped through
            self._frames.append(pack(Done(done.attempt, done.seconds, [failure_of(error)] * len(done.results))))

    def flush(self) -> bool:
        """Write as much as the socket accepts; return True if that was everything."""
        while True:
            if not self._rest:
                if not self._frames:
                    return True
                # Joined only for this write: a large result that leaves in pieces is not copied again.
                data = self._frames[0] if len(self._frames) == 1 else b"".join(self._frames)
                self._frames.clear()
                self._rest = memoryview(data)
            try:
                sent = self._engine.send(self._rest)
            except BlockingIOError:
                return False
            except OSError:
                leave()
            self._rest = self._rest[sent:]

    def flush_all(self) -> None:
        """Write everything, however long that takes. Only for the end of a worker."""
        self._engine.setblocking(True)
        self.flush()


def leave() -> NoReturn:
    """End the worker at once: the engine is gone, so no result of its attempts is wanted."""
    os._exit(0)
