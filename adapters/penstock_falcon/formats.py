"""How a stream's chunks are framed: lines of JSON, or server-sent events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

_encode = msgspec.json.Encoder().encode

# A stream that somebody stores or buffers is no stream; the second is what nginx listens to.
STREAM_HEADERS = (("cache-control", "no-store"), ("x-accel-buffering", "no"))
KEEP_ALIVE_SECONDS = 15.0


class Framing(Protocol):
    """One way to write chunks, each of which is a JSON value without a line break."""

    media_type: str
    end: bytes
    """What says that the stream is whole; empty where the end of the body does."""
    keep_alive: bytes
    """What is sent into a long silence; empty where the format has nothing to say then."""

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """All of ``chunks``, at least one, as one piece of body."""

    def error(self, error: dict[str, Any]) -> bytes:
        """The last thing in a stream that failed."""


class JSONLines:
    """NDJSON: a line for each chunk."""

    media_type = "application/x-ndjson"
    end = b""
    keep_alive = b""

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """Join the chunks, each with its line break."""
        return b"\n".join(chunks) + b"\n"

    def error(self, error: dict[str, Any]) -> bytes:
        """A last line of another shape."""
        return _encode({"error": error}) + b"\n"


class ServerSentEvents:
    """``text/event-stream``: a ``data`` event for each chunk, ``event: end`` last."""

    media_type = "text/event-stream"
    end = b"event: end\ndata: {}\n\n"
    keep_alive = b": keep-alive\n\n"

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """One event for each chunk."""
        return b"data: " + b"\n\ndata: ".join(chunks) + b"\n\n"

    def error(self, error: dict[str, Any]) -> bytes:
        """An event of its own name, so that no client takes it for data."""
        return b"event: error\ndata: " + _encode({"error": error}) + b"\n\n"


_LINES = JSONLines()
_EVENTS = ServerSentEvents()


def choose_framing(accept: str | None) -> Framing:
    """Server-sent events for those who ask for them by name, lines of JSON for all others."""
    for part in (accept or "").split(","):
        media_type, *parameters = part.lower().split(";")
        if media_type.strip() == _EVENTS.media_type:
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
