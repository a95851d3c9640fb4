"""The output of a response as it grows: pieces of an answer become items, and the events that announce them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar
from uuid import uuid4

import msgspec

from penstock_chat import ChatAnswer, Logprob, Piece, Reasoning, Text, ToolCall, pieces_of
from penstock_openai.response_items import CallItem, Event, MessageItem, OutputItem, ReasoningItem, TextItem

_encode = msgspec.json.Encoder().encode
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}

TextItemT = TypeVar("TextItemT", bound=TextItem)


class ResponseOutput:
    """The items of one response, in the order in which they begin.

    A text ends where another item begins. A call of a tool may go on beside others, if the handler numbers its calls.

    Parameters
    ----------
    seed:
        Makes the ids of the items: the same seed makes the same ids. Default: a random one.

    Attributes
    ----------
    items:
        The items so far.
    answer:
        The calls, the usage and the reason; it is without the text, which is kept by the items.
    """

    def __init__(self, seed: str = "") -> None:
        self.items: list[OutputItem] = []
        self.answer = ChatAnswer(call_seed=seed)
        self._seed = seed or uuid4().hex
        self._text: TextItem | None = None
        self._calls: list[CallItem] = []
        self._is_numbered = False  # the last call

    @property
    def message(self) -> MessageItem | None:
        """The message to which a text would be added; None if it would begin one."""
        return self._text if isinstance(self._text, MessageItem) else None

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Take the next chunk of the handler, and yield its events."""
        if is_text(chunk):
            yield from self._add_text(MessageItem, chunk)
            return
        for piece in pieces_of(chunk):
            yield from self._add(piece)

    def finish(self) -> Iterator[Event]:
        """Yield the events of items that have not ended. There is one item at least."""
        if not self.items:
            yield from self._begin_text(MessageItem)
        status = "completed" if self.incomplete_reason is None else "incomplete"
        for item in self.items:
            if item.status == "in_progress":
                yield from item.close(status)

    def abandon(self) -> None:
        """Leave the items that have not ended as they are: no more comes."""
        for item in self.items:
            if item.status == "in_progress":
                item.status = "incomplete"

    @property
    def incomplete_reason(self) -> str | None:
        """The reason why the response is incomplete, or None if it is not."""
        return _INCOMPLETE.get(self.answer.reason)

    def _add(self, piece: Piece) -> Iterator[Event]:
        if isinstance(piece, str):
            yield from self._add_text(MessageItem, _encode(piece))
        elif isinstance(piece, Text):
            yield from self._add_text(MessageItem, _encode(piece.text), piece.logprobs or ())
        elif isinstance(piece, Reasoning):
            yield from self._add_text(ReasoningItem, _encode(piece.text))
        elif isinstance(piece, ToolCall):
            yield from self._add_call(piece)
        else:
            self.answer.add(piece)

    def _add_text(self, kind: type[TextItemT], text: bytes, logprobs: Sequence[Logprob] = ()) -> Iterator[Event]:
        if not isinstance(self._text, kind):
            if text == b'""':
                return
            yield from self._begin_text(kind)
        assert self._text is not None, "it has begun"
        yield self._text.add(text, logprobs)

    def _begin_text(self, kind: type[TextItemT]) -> Iterator[Event]:
        yield from self._end_text()
        self._text = kind(len(self.items), self._seed)
        self.items.append(self._text)
        yield from self._text.open()

    def _end_text(self) -> Iterator[Event]:
        if self._text is not None:
            yield from self._text.close("completed")
            self._text = None

    def _add_call(self, piece: ToolCall) -> Iterator[Event]:
        placed = self.answer.add(piece)
        assert isinstance(placed, ToolCall), "it is the same piece, with its place"
        assert placed.index is not None, "ChatAnswer has set it"
        if placed.index == len(self._calls):
            yield from self._begin_call(is_numbered=piece.index is not None)
        if placed.arguments_text:
            yield self._calls[placed.index].add(placed.arguments_text)

    def _begin_call(self, *, is_numbered: bool) -> Iterator[Event]:
        yield from self._end_text()
        if self._calls and not self._is_numbered:  # no piece of the last call can follow
            yield from self._calls[-1].close("completed")
        self._is_numbered = is_numbered
        item = CallItem(len(self.items), self._seed, self.answer.calls[-1])
        self._calls.append(item)
        self.items.append(item)
        yield from item.open()


def is_text(chunk: bytes) -> bool:
    """Return whether a chunk is plain text, which is JSON already."""
    return chunk[:1] == chunk[-1:] == b'"'
