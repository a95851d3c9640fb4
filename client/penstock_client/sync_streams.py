"""The streams of the client for programs without an event loop: events, and chat."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Generic, TypeVar

import httpx2

from penstock_client.chat_answers import ChatAnswer, ChatEvent
from penstock_client.chat_stream_state import ChatStreamState
from penstock_client.server_sent_events import ServerSentEvent
from penstock_client.stream_state import StreamState
from penstock_client.transport_faults import BROKEN
from penstock_client.watched_connections import ReadDeadline

Value_co = TypeVar("Value_co", covariant=True)


class StreamReader:
    """A stream that is being read, whatever its events are."""

    def __init__(self, response: httpx2.Response, state: StreamState) -> None:
        self._response = response
        self._state = state
        self._pieces = response.iter_bytes()

    headers = property(lambda self: self._state.headers)
    request_id = property(lambda self: self._state.request_id)
    attempts = property(lambda self: self._state.attempts)

    def _has_next(self) -> bool:
        """Read until there is an event; return False at the end of the stream."""
        state = self._state
        if state.has_event():
            return True
        state.watch.resume(time.monotonic())
        while not state.is_over:
            self._read()
            if state.has_event():
                return True
        return False

    def _read(self) -> None:
        failed: Exception | None = None
        piece: bytes | None = None
        try:
            with ReadDeadline(self._state.watch.next_limit()):
                piece = next(self._pieces, None)
        except BROKEN as error:
            failed = error
        if failed is not None:
            self._state.on_failed(failed, time.monotonic())
        elif piece is None:
            self._state.on_end()
        else:
            self._state.on_piece(piece, time.monotonic())


class EventStream(StreamReader, Generic[Value_co]):
    """The events of a stream, in their order; a ``for`` loop reads their values. Use it in a ``with`` block.

    The value of an event is its JSON: a line of NDJSON, or the data of a server-sent event. A stream of another media
    type has pieces of ``bytes``. Leaving the block early hangs up, and the server stops the work.

    Attributes
    ----------
    partial:
        The values read so far, as far as ``keep_bytes`` allows.
    dropped:
        The number of older values that are no longer in ``partial``.
    headers, request_id, attempts:
        Facts about the response and the call.
    """

    partial = property(lambda self: self._state.partial)
    dropped = property(lambda self: self._state.kept.dropped)

    def __iter__(self) -> Iterator[Value_co]:
        return self

    def __next__(self) -> Value_co:
        if not self._has_next():
            raise StopIteration
        value: Value_co = self._state.pop()
        return value

    def events(self) -> Iterator[ServerSentEvent]:
        """Return the server-sent events as they are: with name and id, and the data as text, which need not be JSON.

        Raises
        ------
        TypeError
            If the stream has another media type.
        """
        self._state.require_events()
        return self._events()

    def _events(self) -> Iterator[ServerSentEvent]:
        while self._has_next():
            yield self._state.pop_event()

    def text(self) -> str:
        """Return the whole stream as one text, once it has ended.

        Raises
        ------
        TypeError
            If an event is not text.
        RuntimeError
            If values that were read before are no longer kept.
        """
        self._state.kept.keep_all()
        for _ in self:
            pass
        return self._state.joined()


class ChatStream(StreamReader):
    """The events of a chat answer, in their order; a ``for`` loop reads them. Use it in a ``with`` block.

    Attributes
    ----------
    answer:
        The answer so far; after the loop, the whole answer.
    headers, request_id, attempts:
        Facts about the response and the call.
    """

    _state: ChatStreamState

    @property
    def answer(self) -> ChatAnswer:
        """The answer so far; after the loop, the whole answer."""
        return self._state.partial

    def __iter__(self) -> Iterator[ChatEvent]:
        return self

    def __next__(self) -> ChatEvent:
        if not self._has_next():
            raise StopIteration
        event: ChatEvent = self._state.pop()
        return event

    def text(self) -> str:
        """Return the content of the answer, once it is whole.

        Raises
        ------
        InvalidAnswer
            If there is none.
        """
        for _ in self:
            pass
        return self.answer.text()
