"""The stream of one answer, or of several that take turns, in the framing of OpenAI."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from penstock.hooks import PublicError, on_one_line
from penstock_chat import ChatAnswer, Finish, Piece, Usage, pieces_of, total_usage
from penstock_openai.answer_memo import AnswerMemo
from penstock_openai.openai_errors import error_object
from penstock_openai.usage_objects import usage_object

_encode = msgspec.json.Encoder().encode


class ChoiceStream(ABC):
    """A framing: ``data:`` events without names, and ``data: [DONE]`` last.

    Each choice gets its reason when all have ended, and the usage comes after that, if the client has asked for it.

    Parameters
    ----------
    memo:
        The parts of the request that the answer repeats.
    count:
        The number of choices.
    """

    media_type = "text/event-stream; charset=utf-8"
    is_piecewise = False
    keep_alive = b": keep-alive\n\n"

    kind: str
    """The ``object`` of each event."""

    def __init__(self, memo: AnswerMemo, count: int) -> None:
        self._memo = memo
        self._answers = [ChatAnswer() for _ in range(count)]
        self._begun = [False] * count
        head = {"id": memo.id, "object": self.kind, "created": memo.created, "model": memo.model}
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if memo.includes_usage else b"]}\n\n"

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """Return the events of some chunks."""
        events = b"".join(event for chunk in chunks for event in self._events(chunk, getattr(chunk, "part", 0)))
        return on_one_line(events)

    @property
    def end(self) -> bytes:
        """The reasons, the usage, and the mark of a complete stream."""
        events = [event for index in range(len(self._answers)) for event in self._last_events(index)]
        usage = total_usage(self._answers, shares_prompt=self._memo.prompts == 1)
        if self._memo.includes_usage and usage is not None:
            events.append(self._head + b'],"usage":' + _encode(usage_object(usage)) + b"}\n\n")
        return on_one_line(b"".join(events)) + b"data: [DONE]\n\n"

    def error(self, error: PublicError) -> bytes:
        """Return an event with the error."""
        return b"data: " + on_one_line(_encode({"error": error_object(error)})) + b"\n\n"

    def _events(self, chunk: bytes, index: int) -> Iterator[bytes]:
        if not self._begun[index]:
            self._begun[index] = True
            yield from self._first_events(index)
        if chunk.startswith(b'"'):  # plain text, which is JSON already
            yield self._text_event(index, chunk)
            return
        for piece in pieces_of(chunk):
            # The text itself is not needed again, and an answer may be long.
            if isinstance(piece, str):
                yield self._text_event(index, _encode(piece))
            else:
                yield from self._piece_events(index, piece)

    def _last_events(self, index: int) -> Iterator[bytes]:
        if not self._begun[index]:
            yield from self._first_events(index)
        yield self._last_event(index, self._answers[index].reason)

    def _piece_events(self, index: int, piece: Piece) -> Iterator[bytes]:
        if isinstance(piece, (Usage, Finish)):
            self._answers[index].add(piece)
            return
        choice = self._choice(index, piece)
        if choice is not None:
            yield self._event(choice)

    def _event(self, choice: dict[str, Any]) -> bytes:
        return self._head + _encode(choice) + self._tail

    @abstractmethod
    def _first_events(self, index: int) -> Iterator[bytes]:
        """Yield the events with which a choice begins."""

    @abstractmethod
    def _text_event(self, index: int, text: bytes) -> bytes:
        """Return the event of a piece of text, which is encoded."""

    @abstractmethod
    def _choice(self, index: int, piece: Piece) -> dict[str, Any] | None:
        """Return the choice in the event of any other piece; None if there is no event for it."""

    @abstractmethod
    def _last_event(self, index: int, reason: str) -> bytes:
        """Return the event with the reason."""
