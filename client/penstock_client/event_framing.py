"""The meaning of server-sent events for a caller: their values, the end of the stream, and the reason of a failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from penstock_client.errors import StreamError
from penstock_client.failures import code_in, cut, failed_stream
from penstock_client.server_sent_events import EventDecoder, ServerSentEvent
from penstock_client.stream_decoders import Arrived

DONE: Final = "[DONE]"
"""The data of the last event of servers in the manner of OpenAI."""

_IS_ERROR: Final = re.compile(r'\s*\{\s*"error"')


class FramedEvents:
    """Server-sent events from Penstock or another server.

    An event named ``error`` ends the stream with an error, and so does one without a name that has nothing but an
    error, if the connection is cut after it. ``event: end`` with empty data, as Penstock writes it, and ``[DONE]`` are
    the end of a stream, and not events. Events without data are there to keep the connection alive.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.is_complete = False
        self._decoder = EventDecoder()
        self._held: list[Arrived] = []

    def feed(self, piece: bytes) -> Iterator[Arrived]:
        """Yield the events that are complete.

        Raises
        ------
        StreamFailed
            If one of them is the server's error.
        TruncatedStream
            If one of them cannot be read.
        """
        for event in self._decoder.feed(piece):
            yield from self._on_event(event)

    def finish(self) -> Iterator[Arrived]:
        """Yield the last events, at the clean end of the stream.

        Raises
        ------
        StreamError
            As for ``feed``.
        """
        for event in self._decoder.finish():
            yield from self._on_event(event)
        yield from self._held

    def failure(self, detail: str) -> StreamError:
        """Return the reason of a cut: the server's own, if the last event has it."""
        return failed_stream(_json_in(self._held[-1][0].data)) if self._held else cut(detail)

    def value_of(self, event: ServerSentEvent) -> Any:
        """Return the data of an event, decoded.

        Raises
        ------
        TruncatedStream
            If it is not JSON.
        """
        try:
            return msgspec.json.decode(event.data)
        except msgspec.DecodeError as error:
            raise cut(f"the data of an event is not JSON ({error}); read events() for those that are text") from None

    def _on_event(self, event: ServerSentEvent) -> Iterator[Arrived]:
        if self.is_complete or not event.data:
            return
        self.seen += 1
        yield from self._held
        self._held = []
        if event.data == DONE or (event.event == "end" and event.data.strip() == "{}"):
            self.is_complete = True
        elif event.event == "error":
            raise failed_stream(_json_in(event.data))
        else:
            arrived = (event, event.size_bytes)
            if not event.event and _IS_ERROR.match(event.data) and code_in(_json_in(event.data)):
                self._held = [arrived]
            else:
                yield arrived


def _json_in(data: str) -> Any:
    """Return the value of data that is JSON, and otherwise the text."""
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data
