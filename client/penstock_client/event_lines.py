"""A stream in lines of JSON (NDJSON), as its bytes arrive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from penstock_client.errors import StreamError
from penstock_client.failures import code_in, cut, failed_stream
from penstock_client.stream_decoders import Arrived

_LONGEST_LINE: Final = 64 * 1024 * 1024


class EventLines:
    """Splits bytes into lines and decodes each, wherever the pieces were cut.

    A line that looks like the reason of a failure is held back until it is known whether the stream goes on: only the
    last line before a cut is one.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.is_complete = False
        self._rest = bytearray()
        self._held: list[Arrived] = []

    def feed(self, piece: bytes) -> Iterator[Arrived]:
        """Yield the events that are complete.

        Raises
        ------
        TruncatedStream
            If a line is not JSON, or has no end within 64 MiB.
        """
        self._rest += piece
        if b"\n" not in piece:
            if len(self._rest) > _LONGEST_LINE:
                raise cut("a line is longer than 64 MiB")
            return
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            if line and not line.isspace():
                self.seen += 1
                yield from self._held
                self._held.clear()
                value = _decoded(line)
                if code_in(value):
                    self._held.append((value, len(line)))
                else:
                    yield value, len(line)

    def finish(self) -> Iterator[Arrived]:
        """Yield the last events, at the clean end of the stream.

        Raises
        ------
        TruncatedStream
            If the last line is not complete.
        """
        yield from self._held
        if self._rest.strip():
            yield _decoded(self._rest), len(self._rest)

    def failure(self, detail: str) -> StreamError:
        """Return the reason of a cut: the server's own, if the last line has it."""
        known = failed_stream(self._held[-1][0]) if self._held and not self._rest else None
        return known or cut(detail)

    def value_of(self, event: Any) -> Any:
        """Return the event."""
        return event


def _decoded(line: bytes | bytearray) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise cut(f"a line is not JSON: {error}") from None
