"""Where the frames of an HTTP/2 stream of bytes end, so that a frame can be put between two of them."""

from __future__ import annotations

import struct
from typing import Final

_HEAD_BYTES: Final = 9  # RFC 9113, section 4.1
_HEADERS, _PUSH_PROMISE, _CONTINUATION = 0x1, 0x5, 0x9
_END_HEADERS: Final = 0x4
_GOAWAY: Final = 0x7
_HIGHEST_STREAM: Final = 2**31 - 1

LEAVE_NOTICE: Final = struct.pack(">BHBBIII", 0, 8, _GOAWAY, 0, 0, _HIGHEST_STREAM, 0)
"""The frame that asks a client to open no more streams on its connection: GOAWAY, as RFC 9113, section 6.8, has it for
a graceful shutdown. It names the highest stream, so every stream that the client has opened meanwhile is served."""


class FrameWatch:
    """Follows the frames that a server sends.

    Attributes
    ----------
    is_between:
        True if another frame may follow what has passed: the first frame has passed, and neither a frame nor a block of
        headers is incomplete.
    """

    __slots__ = ("_head", "_is_in_block", "_left_bytes", "is_between")

    def __init__(self) -> None:
        self._head = b""
        self._left_bytes = 0
        self._is_in_block = False
        self.is_between = False

    def pass_on(self, data: bytes) -> int | None:
        """Follow the bytes that come next; return the last place in them where a frame may be put, or None."""
        place, size_bytes, found = 0, len(data), None
        while place < size_bytes:
            if self._left_bytes:
                step = min(self._left_bytes, size_bytes - place)
                self._left_bytes -= step
                place += step
            else:
                needed = _HEAD_BYTES - len(self._head)
                self._head += data[place : place + needed]
                place = min(place + needed, size_bytes)
                if len(self._head) < _HEAD_BYTES:
                    break
                self._begin_frame()
            if not self._left_bytes and not self._is_in_block:
                found = place
        self.is_between = found == size_bytes
        return found

    def _begin_frame(self) -> None:
        head, self._head = self._head, b""
        self._left_bytes = int.from_bytes(head[:3], "big")
        if head[3] in (_HEADERS, _PUSH_PROMISE, _CONTINUATION):
            self._is_in_block = not head[4] & _END_HEADERS
