"""A chat answer, assembled from the objects of JSON that a server sends: one, or many chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock_client.chat_answers import (
    ChatAnswer,
    ChatChoice,
    ChatEvent,
    ContentDelta,
    Done,
    ReasoningDelta,
    Usage,
    UsageReport,
)
from penstock_client.errors import InvalidAnswer
from penstock_client.failures import failed_stream
from penstock_client.tool_call_pieces import ToolCallAssembly

_LONGEST_ANSWER: Final = 64 * 1024 * 1024
_REASONS_FOR_NOTHING: Final = ("length", "content_filter")
_ERROR_KEYS: Final = ("message", "detail")


class _Choice:
    """One choice, as far as it has arrived. A list that is None has never been mentioned."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.content: list[str] | None = None
        self.reasoning: list[str] | None = None
        self.refusal: list[str] | None = None
        self.calls = ToolCallAssembly()
        self.finish_reason: str | None = None

    def so_far(self) -> ChatChoice:
        return ChatChoice(
            content=_joined(self.content),
            reasoning=_joined(self.reasoning),
            refusal=_joined(self.refusal),
            tool_calls=self.calls.complete(self.index),
            finish_reason=self.finish_reason,
            index=self.index,
        )

    def require_something(self) -> None:
        is_empty = self.content is None and not (self.reasoning or self.refusal or self.calls)
        if is_empty and self.finish_reason not in _REASONS_FOR_NOTHING:
            raise _invalid(f"it has no content, and nothing in its place; finish_reason={self.finish_reason!r}")


class ChatAssembly:
    """The answer so far, and the events that follow from each object."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._model = self._id = ""
        self._characters = 0

    @property
    def is_finished(self) -> bool:
        """True if each choice that has begun has a reason for its end."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    def answer(self, **facts: Any) -> ChatAnswer:
        """Return the answer so far, without tool calls that are not complete."""
        choices = tuple(self._choices[index].so_far() for index in sorted(self._choices))
        return ChatAnswer(choices, self._usage, self._model, self._id, **facts)

    def add(self, value: Any) -> Iterator[ChatEvent]:
        """Add an object, and yield the events that follow from it.

        Raises
        ------
        StreamFailed
            If it is the server's error.
        InvalidAnswer
            If it is not a part of a chat answer.
        """
        if is_error(value):
            raise failed_stream(value)
        if not isinstance(value, dict):
            raise _invalid(f"a part of it is of the type {type(value).__name__}, and not an object")
        self._model = self._model or _text(value.get("model"))
        self._id = self._id or _text(value.get("id"))
        for holder in (value, value.get("x_groq")):
            self._note_usage(holder)
        choices = value.get("choices")
        for place, choice in enumerate(choices if isinstance(choices, list) else []):
            if isinstance(choice, dict):
                yield from self._on_choice(choice, place)

    def finish(self) -> Iterator[ChatEvent]:
        """Check that the answer is complete, and yield the events of its end.

        Raises
        ------
        InvalidAnswer
            If it has no choice, or one of them has no content and nothing in its place, or a tool call is not complete.
        """
        if not self._choices:
            raise _invalid("it has no choice")
        calls: list[ChatEvent] = []
        for choice in self._choices.values():
            choice.require_something()
            calls += choice.calls.finish(choice.finish_reason, choice.index)
        yield from calls
        if self._usage is not None:
            yield UsageReport(self._usage)
        for choice in self._choices.values():
            yield Done(choice.finish_reason, choice.index)

    def _on_choice(self, value: Mapping[str, Any], place: int) -> Iterator[ChatEvent]:
        number = value.get("index")
        index = number if isinstance(number, int) else place
        choice = self._choices.setdefault(index, _Choice(index))
        is_whole = "delta" not in value
        delta = value.get("message" if is_whole else "delta")
        if isinstance(delta, dict):
            yield from self._on_delta(choice, delta, is_whole=is_whole)
        self._note_usage(value)
        choice.finish_reason = _text(value.get("finish_reason")) or choice.finish_reason
        if choice.finish_reason == "error":
            raise failed_stream(value)

    def _on_delta(self, choice: _Choice, delta: Mapping[str, Any], *, is_whole: bool) -> Iterator[ChatEvent]:
        reasoning, content = texts_in(delta.get("content"))
        for text in (_text(delta.get("reasoning_content")) or _text(delta.get("reasoning")), reasoning):
            if text:
                choice.reasoning = self._grown(choice.reasoning, text)
                yield ReasoningDelta(text, choice.index)
        if content is not None:
            choice.content = self._grown(choice.content, content)
            if content:
                yield ContentDelta(content, choice.index)
        if refusal := _text(delta.get("refusal")):
            choice.refusal = self._grown(choice.refusal, refusal)
        for place, piece in enumerate(_pieces_in(delta)):
            self._count(str(piece.get("function")))
            choice.calls.add({**piece, "index": place} if is_whole else piece)

    def _grown(self, texts: list[str] | None, text: str) -> list[str]:
        self._count(text)
        texts = [] if texts is None else texts
        texts.append(text)
        return texts

    def _count(self, text: str) -> None:
        self._characters += len(text)
        if self._characters > _LONGEST_ANSWER:
            raise _invalid("it is longer than 64 MiB")

    def _note_usage(self, holder: Any) -> None:
        value = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(value, dict) and value:
            self._usage = Usage(
                prompt_tokens=_number(value.get("prompt_tokens")),
                completion_tokens=_number(value.get("completion_tokens")),
                total_tokens=_number(value.get("total_tokens")),
                raw=value,
            )


def is_error(value: Any) -> bool:
    """Return whether an object is an error in place of an answer, or of a part of one."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return False
    if value.get("error") or value.get("object") == "error":
        return True
    return not value.get("choices") and any(isinstance(value.get(key), str | list) for key in _ERROR_KEYS)


def texts_in(content: Any) -> tuple[str, str | None]:
    """Return the reasoning and the text in a content, which is a text, a list of parts, or null.

    Raises
    ------
    InvalidAnswer
        If it is something else.
    """
    if content is None or isinstance(content, str):
        return "", content
    if not isinstance(content, list):
        raise _invalid(f"its content is of the type {type(content).__name__}")
    parts = [part for part in content if isinstance(part, dict)]
    reasoning = "".join(_part_text(part.get("thinking")) for part in parts if part.get("type") == "thinking")
    texts = [_part_text(part.get("text")) for part in parts if part.get("type", "text") == "text"]
    return reasoning, "".join(texts) if texts or not parts else None


def _part_text(value: Any) -> str:
    """Return the text of a part: a text, or a list of parts with text."""
    if isinstance(value, list):
        return "".join(_part_text(part.get("text")) for part in value if isinstance(part, dict))
    return _text(value)


def _pieces_in(delta: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the pieces of tool calls in a delta, and of the single call of servers that are older."""
    pieces = delta.get("tool_calls")
    found: list[Mapping[str, Any]] = []
    if isinstance(pieces, list):
        found += (piece for piece in pieces if isinstance(piece, dict))
    if isinstance(delta.get("function_call"), dict):
        found.append({"function": delta["function_call"], "index": 0})
    return found


def _invalid(reason: str) -> InvalidAnswer:
    return InvalidAnswer(f"{InvalidAnswer.title}: {reason}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _joined(texts: list[str] | None) -> str | None:
    return None if texts is None else "".join(texts)
