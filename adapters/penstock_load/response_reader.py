"""HTTP/1.1 responses from bytes, as they arrive: their status, their chunks, and whether they are complete."""

from __future__ import annotations

import re

MOST_HEAD_BYTES = 64 * 1024
MOST_KEPT_BYTES = 64 * 1024
_TAIL_BYTES = 4096
_DIGITS = {10: re.compile(rb"[0-9]{1,18}"), 16: re.compile(rb"[0-9A-Fa-f]{1,16}")}
_NO_BODY = frozenset({204, 304})


class MalformedResponseError(Exception):
    """The bytes are not an HTTP/1.1 response."""


class ResponseReader:
    """Reads one response. It does no I/O: bytes go in, and what is known so far comes out.

    Parameters
    ----------
    is_head:
        The request was a HEAD, so the response has no body.
    """

    def __init__(self, *, is_head: bool = False) -> None:
        self.status = 0
        """The status; 0 until the head is complete."""
        self.is_complete = False
        self.is_reusable = False
        """The connection may carry another request, once the response is complete."""
        self.is_chunked = False
        """The body has no length, and arrives in chunks."""
        self.body = bytearray()
        """The body, up to 64 KiB of it."""
        self.tail = b""
        """The last bytes of the body."""
        self._is_head = is_head
        self._buffer = bytearray()
        self._left: int | None = 0
        self._chunk_start = b""
        self._step = self._read_head

    @property
    def has_begun(self) -> bool:
        """True once a byte of the response has arrived."""
        return bool(self.status or self._buffer)

    def feed(self, data: bytes) -> int:
        """Read further bytes; return the number of chunks that they complete, keep-alive comments left out.

        Raises
        ------
        MalformedResponseError
            If they are not part of a response, or follow its end.
        """
        self._buffer += data
        chunks = 0
        while not self.is_complete:
            found = self._step()
            if found is None:
                break
            chunks += found
        if self.is_complete and self._buffer:
            raise MalformedResponseError("bytes follow the response")
        return chunks

    def end(self) -> bool:
        """Note that the connection has ended; return whether the response is complete."""
        if self._left is None and self.status:
            self.is_complete = True
        return self.is_complete

    # Each step returns None if it needs more bytes, and otherwise the number of chunks that it has completed.

    def _read_head(self) -> int | None:
        end = self._buffer.find(b"\r\n\r\n")
        if max(end, len(self._buffer) if end < 0 else 0) > MOST_HEAD_BYTES:
            raise MalformedResponseError(f"the head is larger than {MOST_HEAD_BYTES} bytes")
        if end < 0:
            return None
        lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        version, status = _status_of(lines[0])
        if status < 200:
            return 0  # 100 Continue, 103 Early Hints: the response follows
        fields = _fields_of(lines[1:])
        connection = fields.get(b"connection", b"").lower()
        self.status = status
        self.is_reusable = b"close" not in connection and (version != b"HTTP/1.0" or b"keep-alive" in connection)
        self._begin_body(fields)
        return 0

    def _begin_body(self, fields: dict[bytes, bytes]) -> None:
        if self._is_head or self.status in _NO_BODY:
            self.is_complete = True
        elif b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            self.is_chunked = True
            self._step = self._read_size
        elif b"content-length" in fields:
            self._left = _number(fields[b"content-length"], 10)
            self.is_complete = self._left == 0
            self._step = self._read_length
        else:  # it ends with the connection
            self.is_chunked, self.is_reusable, self._left = True, False, None
            self._step = self._read_rest

    def _read_length(self) -> int | None:
        assert self._left is not None
        self._left -= self._take(self._left)
        self.is_complete = self._left == 0
        return 0 if self.is_complete else None

    def _read_rest(self) -> int | None:
        self._chunk_start = bytes(self._buffer[:64])
        return self._counts() if self._take(len(self._buffer)) else None

    def _read_size(self) -> int | None:
        line = self._line()
        if line is None:
            return None
        self._left = _number(line.partition(b";")[0], 16)
        self._chunk_start = b""
        self._step = self._read_chunk if self._left else self._read_trailer
        return 0

    def _read_chunk(self) -> int | None:
        assert self._left is not None
        if self._left:
            self._chunk_start = self._chunk_start or bytes(self._buffer[: min(64, self._left)])
            self._left -= self._take(self._left)
        if self._left or len(self._buffer) < 2:
            return None
        if self._buffer[:2] != b"\r\n":
            raise MalformedResponseError("a chunk is longer than its size")
        del self._buffer[:2]
        self._step = self._read_size
        return self._counts()

    def _read_trailer(self) -> int | None:
        line = self._line()
        self.is_complete = line == b""
        return None if line is None else 0

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if max(end, len(self._buffer) if end < 0 else 0) > MOST_HEAD_BYTES:
            raise MalformedResponseError("a line between chunks is too long")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _take(self, most: int) -> int:
        piece = bytes(self._buffer[:most])
        del self._buffer[:most]
        if len(self.body) < MOST_KEPT_BYTES:
            self.body += piece[: MOST_KEPT_BYTES - len(self.body)]
        if piece:
            self.tail = (self.tail + piece[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        return len(piece)

    def _counts(self) -> int:
        # Server-sent events: a comment keeps the connection open, and says nothing.
        start = self._chunk_start
        return 0 if start.startswith(b":") and b"\ndata:" not in start else 1


def _status_of(line: bytes) -> tuple[bytes, int]:
    version, _, rest = line.partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/1.") or not (status.isdigit() and len(status) == 3):
        raise MalformedResponseError("the first line is not that of an HTTP/1.1 response")
    return version, int(status)


def _fields_of(lines: list[bytes]) -> dict[bytes, bytes]:
    fields = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise MalformedResponseError("a header has no colon")
        fields[name.strip().lower()] = value.strip()
    return fields


def _number(text: bytes, base: int) -> int:
    digits = text.strip()
    if not _DIGITS[base].fullmatch(digits):
        raise MalformedResponseError("the length of the body is not a number")
    return int(digits, base)
