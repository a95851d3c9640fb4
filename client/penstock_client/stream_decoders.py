"""The interface between the bytes of a stream and its events, and the decoder of streams that have only bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from penstock_client.errors import StreamError
from penstock_client.failures import cut

Arrived = tuple[Any, int]
"""An event, and the bytes that it took in the stream."""


class StreamDecoder(Protocol):
    """Turns the bytes of a stream into events.

    Attributes
    ----------
    seen:
        The number of events so far. An event counts even if there is nothing in it for the program.
    is_complete:
        True once the stream has had a mark of its end: whatever follows does not matter.
    """

    seen: int
    is_complete: bool

    def feed(self, piece: bytes) -> Iterator[Arrived]:
        """Yield the events that are complete; raise a ``ClientError`` if they cannot be read, or say so."""

    def finish(self) -> Iterator[Arrived]:
        """Yield the last events, at the clean end of the stream; raise a ``ClientError`` if something is missing."""

    def failure(self, detail: str) -> StreamError:
        """Return the reason of a cut."""

    def value_of(self, event: Any) -> Any:
        """Return the value of an event."""


class PieceDecoder:
    """The pieces of a stream as they are, for media types without events."""

    def __init__(self) -> None:
        self.seen = 0
        self.is_complete = False

    def feed(self, piece: bytes) -> Iterator[Arrived]:
        """Yield the piece."""
        self.seen += 1
        yield piece, len(piece)

    def finish(self) -> Iterator[Arrived]:
        """Yield nothing."""
        return iter(())

    def failure(self, detail: str) -> StreamError:
        """Return the reason of a cut."""
        return cut(detail)

    def value_of(self, event: Any) -> Any:
        """Return the piece."""
        return event
