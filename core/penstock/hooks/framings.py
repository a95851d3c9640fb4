"""The framings of the native interface: lines of JSON, server-sent events, and chunks as they are."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.codec.event_chunks import EVENT_MARK, data_of, split_chunk
from penstock.hooks.dialects import Framing, PublicError

_encode = msgspec.json.Encoder().encode


def on_one_line(lines: bytes) -> bytes:
    r"""Escape U+0085, U+2028 and U+2029 in JSON.

    Many clients split text into lines there, as ``str.splitlines`` does. JSON has these characters only in strings, and
    all others that end a line are escaped in any case.
    """
    if lines.isascii():
        return lines
    return (
        lines.replace(b"\xc2\x85", rb"\u0085").replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")
    )


class JSONLines:
    """NDJSON: one line for each chunk."""

    media_type = "application/x-ndjson"
    is_piecewise = False
    takes_events = True
    end = b""
    keep_alive = b""

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """Join the chunks, each followed by a line break. An event is its data alone."""
        lines = b"\n".join(chunks)
        if EVENT_MARK in lines:
            lines = b"\n".join(data_of(chunks))
        return on_one_line(lines) + b"\n"

    def error(self, error: PublicError) -> bytes:
        """Return a last line of a different shape."""
        return on_one_line(_encode({"error": error.as_object()})) + b"\n"


class ServerSentEvents:
    """``text/event-stream``: a ``data`` event for each chunk, and ``event: end`` last."""

    media_type = "text/event-stream; charset=utf-8"
    is_piecewise = False
    takes_events = True
    end = b"event: end\ndata: {}\n\n"
    keep_alive = b": keep-alive\n\n"

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """Return one event for each chunk."""
        events = b"\n\ndata: ".join(chunks)
        if EVENT_MARK in events:
            parts = [split_chunk(chunk) for chunk in chunks]
            return on_one_line(b"".join([b"%sdata: %s\n\n" % part for part in parts]))
        return b"data: " + on_one_line(events) + b"\n\n"

    def error(self, error: PublicError) -> bytes:
        """Return an event with a name of its own, so that no client takes it for data."""
        return b"event: error\ndata: " + on_one_line(_encode({"error": error.as_object()})) + b"\n\n"


class RawFraming:
    """The chunks as they are, for a stream with a media type of its own: audio, CSV, plain text.

    There is no place for an error: a stream that fails is only cut.
    """

    is_piecewise = False
    end = b""

    def __init__(self, media_type: str, keep_alive: bytes = b"") -> None:
        self.media_type = media_type
        self.keep_alive = keep_alive

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """Join the chunks."""
        return b"".join(chunks)

    def error(self, error: PublicError) -> bytes:  # noqa: ARG002 - as every framing has it
        """Return nothing."""
        return b""


class DataFraming:
    """A framing that has not heard of events: to it, each of them is its data.

    Parameters
    ----------
    framing:
        That framing.
    """

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self.media_type = framing.media_type
        self.is_piecewise = framing.is_piecewise

    @property
    def end(self) -> bytes:
        """The mark of a complete stream."""
        return self._framing.end

    @property
    def keep_alive(self) -> bytes:
        """Sent during a long silence."""
        return self._framing.keep_alive

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """Return the data of the chunks as one piece of the body."""
        return self._framing.frame(data_of(chunks))

    def error(self, error: PublicError) -> bytes:
        """Return the last piece of a stream that failed."""
        return self._framing.error(error)


_LINES = JSONLines()
_EVENTS = ServerSentEvents()


def choose_framing(accept: str | None) -> Framing:
    """Return server-sent events if the ``Accept`` header names them, else lines of JSON."""
    for part in (accept or "").split(","):
        media_type, *parameters = part.lower().split(";")
        if media_type.strip() == "text/event-stream":
            return _LINES if _is_refused(parameters) else _EVENTS
    return _LINES


def _is_refused(parameters: list[str]) -> bool:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value) <= 0
            except ValueError:
                return False
    return False
