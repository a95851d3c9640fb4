"""The streams of the async client: events, and chat."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Generic, TypeVar

import httpx2

from penstock_client.async_scopes import hang_up, until
from penstock_client.chat_answers import ChatAnswer, ChatEvent
from penstock_client.chat_stream_state import ChatStreamState
from penstock_client.server_sent_events import ServerSentEvent
from penstock_client.stream_state import StreamState
from penstock_client.transport_faults import BROKEN

Value_co = TypeVar("Value_co", covariant=True)


class AsyncStreamReader:
    """A stream that is being read, whatever its events are."""

    def __init__(self, response: httpx2.Response, state: StreamState) -> None:
        self._response = response
        self._state = state
        self._pieces = response.aiter_bytes()

    headers = property(lambda self: self._state.headers)
    request_id = property(lambda self: self._state.request_id)
    attempts = property(lambda self: self._state.attempts)

    async def aclose(self) -> None:
        """Hang up."""
        self._state.is_over = True
        await hang_up(self._pieces, self._response)

    async def _has_next(self) -> bool:
        """Read until there is an event; return False at the end of the stream."""
        state = self._state
        if state.has_event():
            return True
        state.watch.resume(time.monotonic())
        while not state.is_over:
            await self._read()
            if state.has_event():
                return True
        return False

    async def _read(self) -> None:
        failed: Exception | None = None
        piece: bytes | None = None
        with until(self._state.watch.next_limit()) as scope:
            try:
                piece = await anext(self._pieces, None)
            except BROKEN as error:
                failed = error
        if scope.cancelled_caught:
            self._state.on_silence(time.monotonic())
        elif failed is not None:
            self._state.on_failed(failed, time.monotonic())
        elif piece is None:
            self._state.on_end()
        else:
            self._state.on_piece(piece, time.monotonic())


class AsyncEventStream(AsyncStreamReader, Generic[Value_co]):
    """The events of a stream, in their order; an ``async for`` loop reads their values.

    Use it in an ``async with`` block. The value of an event is its JSON: a line of NDJSON, or the data of a server-sent
    event. A stream of another media type has pieces of ``bytes``. Leaving the block early hangs up, and the server
    stops the work.

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

    def __aiter__(self) -> AsyncIterator[Value_co]:
        return self

    async def __anext__(self) -> Value_co:
        if not await self._has_next():
            raise StopAsyncIteration
        value: Value_co = self._state.pop()
        return value

    def events(self) -> AsyncGenerator[ServerSentEvent]:
        """Return the server-sent events as they are: with name and id, and the data as text, which need not be JSON.

        Raises
        ------
        TypeError
            If the stream has another media type.
        """
        self._state.require_events()
        return self._events()

    async def _events(self) -> AsyncGenerator[ServerSentEvent]:
        while await self._has_next():
            yield self._state.pop_event()

    async def text(self) -> str:
        """Return the whole stream as one text, once it has ended.

        Raises
        ------
        TypeError
            If an event is not text.
        RuntimeError
            If values that were read before are no longer kept.
        """
        self._state.kept.keep_all()
        async for _ in self:
            pass
        return self._state.joined()


class AsyncChatStream(AsyncStreamReader):
    """The events of a chat answer, in their order; an ``async for`` loop reads them. Use it in an ``async with`` block.

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

    def __aiter__(self) -> AsyncIterator[ChatEvent]:
        return self

    async def __anext__(self) -> ChatEvent:
        if not await self._has_next():
            raise StopAsyncIteration
        event: ChatEvent = self._state.pop()
        return event

    async def text(self) -> str:
        """Return the content of the answer, once it is whole.

        Raises
        ------
        InvalidAnswer
            If there is none.
        """
        async for _ in self:
            pass
        return self.answer.text()
