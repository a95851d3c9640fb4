"""The buffers between the engine and a worker: bytes on their way out of a socket, and frames on their way into one."""

from __future__ import annotations

import socket

RECEIVE_BYTES = (1 << 17) - 4096
"""The most bytes of one read. From 128 KiB on, glibc maps the memory of each copy anew, and for a body of 5 MB the page
faults cost as much CPU time as everything else together."""
_MOST_PIECES = 1024
"""The most pieces that one system call takes: IOV_MAX on Linux and macOS."""


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


class SendBuffer:
    """Writes frames to a non-blocking socket. It keeps in order what the socket does not accept, and copies nothing.

    Attributes
    ----------
    frames:
        The bytes that have not been written, in pieces, to be appended to with ``wire.pack_into``.
    """

    __slots__ = ("frames",)

    def __init__(self) -> None:
        self.frames: list[bytes | memoryview] = []

    @property
    def is_empty(self) -> bool:
        """True if everything has been written."""
        return not self.frames

    def flush(self, target: socket.socket) -> bool:
        """Write once, as much as the socket accepts; return True if nothing is left.

        Only once: the other end may read as fast as this one writes, and a large frame would hold the loop to its end.

        Raises
        ------
        OSError
            If the connection is broken.
        """
        frames = self.frames
        if not frames:
            return True
        try:
            if len(frames) == 1:
                size_bytes = len(frames[0])
                sent = target.send(frames[0])
            else:
                size_bytes = sum(map(len, frames))
                sent = target.sendmsg(frames[:_MOST_PIECES])
        except BlockingIOError:
            return False
        if sent == size_bytes:
            frames.clear()
            return True
        return self._drop(sent)

    def _drop(self, sent: int) -> bool:
        """Remove what was written from the front; return True if nothing is left."""
        frames = self.frames
        count = 0
        for piece in frames:
            if sent < len(piece):
                break
            sent -= len(piece)
            count += 1
        del frames[:count]
        if sent:
            frames[0] = memoryview(frames[0])[sent:]
        return not frames
