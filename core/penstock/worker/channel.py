"""Frames on their way to the engine: written at once where the socket takes them, kept in order where it does not."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

from penstock.wire import Done, Message, pack
from penstock.worker.failure_reports import failure_of


class Outbox:
    """Collects frames, so that those that are ready together leave in one write.

    Parameters
    ----------
    engine:
        The socket to the engine, non-blocking.
    """

    __slots__ = ("_engine", "_frames", "_rest")

    def __init__(self, engine: socket.socket) -> None:
        self._engine = engine
        self._frames: list[bytes] = []
        self._rest = memoryview(b"")  # what the socket did not take of the last write; goes before _frames

    @property
    def is_empty(self) -> bool:
        """Whether all that was posted has left."""
        return not self._frames and not self._rest

    def post(self, message: Message) -> None:
        """Add a message; it leaves with the next flush."""
        self._frames.append(pack(message))

    def post_done(self, done: Done) -> None:
        """Add the end of an attempt. One that cannot be framed becomes failures: a slot must never hang on it."""
        try:
            self._frames.append(pack(done))
        except Exception as error:  # larger than a frame, or user data of a type that slipped through
            self._frames.append(pack(Done(done.attempt, done.seconds, [failure_of(error)] * len(done.results))))

    def flush(self) -> bool:
        """Write what the socket takes; return whether that was everything."""
        while True:
            if not self._rest:
                if not self._frames:
                    return True
                # Joined only for this write: a large result is never moved again while it leaves in pieces.
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
        """Write everything, waiting as long as that takes; for the end of a worker."""
        self._engine.setblocking(True)
        self.flush()


def leave() -> NoReturn:
    """End the worker at once: the engine is gone, so nobody waits for anything that runs here."""
    os._exit(0)


RECEIVE_BYTES = 1 << 18


class Receiver:
    """Reads a non-blocking socket into one buffer that is used again and again.

    ``recv(RECEIVE_BYTES)`` would allocate that much each time, which costs seven times what reading a small frame does.
    """

    __slots__ = ("_buffer", "_socket", "_view")

    def __init__(self, source: socket.socket) -> None:
        self._socket = source
        self._buffer = bytearray(RECEIVE_BYTES)
        self._view = memoryview(self._buffer)

    def receive(self) -> bytes | None:
        """Return what has arrived: nothing (``b""``) at the end of the stream, None if there is nothing yet."""
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return None
        except OSError:  # a reset is an end as well
            return b""
        return bytes(self._view[:size])
