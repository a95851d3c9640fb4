"""A stream in lines of JSON (NDJSON), as its bytes arrive."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from penstock_client.errors import StreamError, StreamFailed, TruncatedStream
from penstock_client.failures import code_in, message_in

_LONGEST_LINE: Final = 64 * 1024 * 1024


class EventLines:
    """Splits bytes into lines and decodes each, wherever the pieces were cut.

    A line that looks like the reason of a failure is held back until it is known whether the stream goes on: only the
    last line before a cut is one.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._held: list[Any] = []

    def feed(self, piece: bytes) -> list[Any]:
        """Return the events that are complete.

        Raises
        ------
        TruncatedStream
            If a line is not JSON, or has no end within 64 MiB.
        """
        self._rest += piece
        if b"\n" not in piece:
            if len(self._rest) > _LONGEST_LINE:
                raise _cut("a line is longer than 64 MiB")
            return []
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        values = [*self._held, *(_decoded(line) for line in lines if line.strip())]
        self._held = [values.pop()] if values and code_in(values[-1]) else []
        return values

    def finish(self) -> list[Any]:
        """Return the last events, at the clean end of the stream.

        Raises
        ------
        TruncatedStream
            If the last line is not complete.
        """
        values = self._held
        if self._rest.strip():
            values = [*values, _decoded(self._rest)]
        return values

    def failure(self, detail: str) -> StreamError:
        """Return the reason of a cut: the server's own, if the last line has it."""
        known = _failure_in(self._held[-1]) if self._held and not self._rest else None
        return known or _cut(detail)


def _failure_in(value: Any) -> StreamError | None:
    """Return the error that a last line describes; None if it is an event like any other."""
    code = code_in(value)
    if not code:
        return None
    error = StreamFailed(f"{StreamFailed.title}: {message_in(value) or code}")
    error.server_code = code
    error.may_have_run = True
    return error


def _decoded(line: bytes | bytearray) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _cut(f"a line is not JSON: {error}") from None


def _cut(detail: str) -> TruncatedStream:
    error = TruncatedStream(f"{TruncatedStream.title}: {detail}" if detail else "")
    error.may_have_run = True
    return error
