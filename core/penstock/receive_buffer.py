"""A buffer for reading sockets, allocated once. The engine and the worker both read through one."""

from __future__ import annotations

import socket

RECEIVE_BYTES = 1 << 18


class ReceiveBuffer:
    """Reads non-blocking sockets into one buffer, which every read reuses.

    ``recv(RECEIVE_BYTES)`` would allocate that much each time, which costs seven times what reading a small frame does.

    One buffer serves any number of sockets, but only one thread: ``recv_into`` releases the GIL, so a second thread
    could overwrite the bytes before they are copied out. Two engines in one process therefore have a buffer each.
    """

    __slots__ = ("_buffer", "_view")

    def __init__(self) -> None:
        self._buffer = bytearray(RECEIVE_BYTES)
        self._view = memoryview(self._buffer)

    def receive(self, source: socket.socket) -> bytes | None:
        """Return the bytes that have arrived: ``b""`` at the end of the stream, None if there are none yet."""
        try:
            size = source.recv_into(self._buffer)
        except BlockingIOError:
            return None
        except OSError:  # a connection that was reset has ended too
            return b""
        return bytes(self._view[:size])
