"""The stream of a response: named and numbered events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from penstock.hooks import PublicError, on_one_line
from penstock_openai.response_items import Event
from penstock_openai.response_objects import ResponseMemo, response_error
from penstock_openai.response_output import ResponseOutput

_encode = msgspec.json.Encoder().encode


class ResponseStream:
    """A framing: ``event:`` has the type of each event, and its data too, with a number that rises.

    Parameters
    ----------
    memo:
        The fields that are known before the output.
    """

    media_type = "text/event-stream; charset=utf-8"
    is_piecewise = False
    keep_alive = b": keep-alive\n\n"

    def __init__(self, memo: ResponseMemo) -> None:
        self._memo = memo
        self._output = ResponseOutput()
        self._count = 0

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """Return the events of some chunks."""
        events = chain.from_iterable(map(self._output.feed, chunks))
        return self._written(chain(self._first_events(), events))

    @property
    def end(self) -> bytes:
        """The ends of the items, and the whole response once more."""
        return self._written(chain(self._first_events(), self._output.finish(), self._last_event()))

    def error(self, error: PublicError) -> bytes:
        """Return the event of a response that has failed."""
        self._output.abandon()
        failed = self._memo.as_object(self._output, "failed", error=response_error(error))
        return self._written(chain(self._first_events(), [{"type": "response.failed", "response": failed}]))

    def _first_events(self) -> Iterator[Event]:
        if self._count == 0:
            begun = self._memo.as_object(self._output, "in_progress")
            yield {"type": "response.created", "response": begun}
            yield {"type": "response.in_progress", "response": begun}

    def _last_event(self) -> Iterator[Event]:
        finished = self._memo.finished(self._output)
        yield {"type": f"response.{finished['status']}", "response": finished}

    def _written(self, events: Iterable[Event]) -> bytes:
        written = bytearray()
        for event in events:
            kind = event["type"].encode()
            numbered = {"type": event["type"], "sequence_number": self._count, **event}
            written += b"event: %b\ndata: %b\n\n" % (kind, on_one_line(_encode(numbered)))
            self._count += 1
        return bytes(written)
