"""Frames on their way into a socket. The engine and the worker both write through one of these."""

from __future__ import annotations

import socket

_MOST_PIECES = 1024
"""The most pieces that one system call takes: IOV_MAX on Linux and macOS."""


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
            sent = target.send(frames[0]) if len(frames) == 1 else target.sendmsg(frames[:_MOST_PIECES])
        except BlockingIOError:
            return False
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
