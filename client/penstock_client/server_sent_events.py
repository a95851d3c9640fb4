"""Server-sent events, as their bytes arrive: the rules of the HTML standard, for any server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from penstock_client.failures import cut

_LARGEST_EVENT: Final = 64 * 1024 * 1024
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class ServerSentEvent:
    """One event of a ``text/event-stream``.

    Attributes
    ----------
    data:
        Its lines of data, joined by line breaks. Most servers write JSON there.
    event:
        Its name; "" if it has none.
    id:
        The last id that the stream has had so far; "" if it has had none.
    retry:
        The seconds after which the server wants to see a client again that has lost it; None if it has not said so.
    size_bytes:
        The bytes of its data.
    """

    data: str
    event: str = ""
    id: str = ""
    retry: float | None = None
    size_bytes: int = 0


class EventDecoder:
    """Splits bytes into server-sent events, wherever the pieces were cut.

    It departs from the standard in three points, so that nothing is lost without an error: text that is not UTF-8 is
    refused, an event at the clean end of the stream needs no empty line after it, and a field ``error``, in which
    llama.cpp wrote its errors until late in 2025, is the data of an event of that name.
    """

    def __init__(self) -> None:
        self._rest = bytearray()  # the beginning of a line
        self._is_first_line = True
        self._has_cr = False  # the last piece ended with a CR, whose LF may follow
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = b""
        self._id = b""
        self._retry: float | None = None

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that are complete.

        Raises
        ------
        TruncatedStream
            If an event is not UTF-8, or has no end within 64 MiB.
        """
        if self._has_cr and piece:
            piece = piece.removeprefix(b"\n")
            self._has_cr = False
        if not piece:
            return
        first, *lines = _LINE_END.split(piece)
        self._rest += first
        if lines:
            self._has_cr = piece.endswith(b"\r")
            *lines, rest = [bytes(self._rest), *lines]
            self._rest = bytearray(rest)
            for line in lines:
                yield from self._on_line(line)
        if len(self._rest) + self._data_bytes > _LARGEST_EVENT:
            raise cut("an event is larger than 64 MiB")

    def finish(self) -> Iterator[ServerSentEvent]:
        """Yield the event that has no empty line after it, at the clean end of the stream."""
        line, self._rest = bytes(self._rest), bytearray()
        if line:
            yield from self._on_line(line)
        yield from self._on_line(b"")

    def _on_line(self, line: bytes) -> Iterator[ServerSentEvent]:
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if line:
            self._on_field(line)
        elif self._data:
            yield self._event_of(b"\n".join(self._data))
            self._begin()
        else:
            self._begin()

    def _on_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")  # a comment has no name
        value = value.removeprefix(b" ")
        if name in {b"data", b"error"}:
            self._data.append(value)
            self._data_bytes += len(value) + 1
            self._event = b"error" if name == b"error" else self._event
        elif name == b"event":
            self._event = value
        elif name == b"id" and b"\0" not in value:
            self._id = value
        elif name == b"retry" and value.isdigit():
            self._retry = float(value) / 1000

    def _event_of(self, data: bytes) -> ServerSentEvent:
        try:
            texts = (data.decode(), self._event.decode(), self._id.decode())
        except UnicodeDecodeError as error:
            raise cut(f"an event is not UTF-8: {error}") from None
        return ServerSentEvent(*texts, self._retry, self._data_bytes)

    def _begin(self) -> None:
        self._data.clear()
        self._data_bytes = 0
        self._event = b""
