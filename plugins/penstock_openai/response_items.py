"""The items of a response's output: messages, reasoning and calls of functions, each with the events of its life."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeAlias

import msgspec

from penstock_chat import Logprob, ToolCall
from penstock_openai.chat_objects import logprob_objects

Event: TypeAlias = dict[str, Any]
"""The data of an event, without its number."""


class OutputItem(ABC):
    """An item of the output, which is complete once its status is no longer ``in_progress``.

    Parameters
    ----------
    index:
        Its place in the output.
    seed:
        The part of its id that all items of the output share.
    """

    prefix: ClassVar[str]

    def __init__(self, index: int, seed: str) -> None:
        self.id = f"{self.prefix}_{seed}{index:02x}"
        self.index = index
        self.status = "in_progress"

    def open(self) -> Iterator[Event]:
        """Yield the events with which it begins."""
        yield {"type": "response.output_item.added", "output_index": self.index, "item": self.as_object()}

    def close(self, status: str) -> Iterator[Event]:
        """Set how it has ended, and yield the events with which it does."""
        self.status = status
        yield from self._last_events()
        yield {"type": "response.output_item.done", "output_index": self.index, "item": self.as_object()}

    def _event(self, kind: str, **fields: Any) -> Event:
        return {"type": f"response.{kind}", "item_id": self.id, "output_index": self.index, **fields}

    @abstractmethod
    def as_object(self) -> dict[str, Any]:
        """Return it as it is now."""

    @abstractmethod
    def _last_events(self) -> Iterator[Event]:
        """Yield the events with which its content ends."""


class TextItem(OutputItem):
    """An item whose content is one part with text.

    The text stays as it was encoded: nothing but its end quotes is taken away.
    """

    part_kind: ClassVar[str]

    def __init__(self, index: int, seed: str) -> None:
        super().__init__(index, seed)
        self._text: list[bytes] = []

    def open(self) -> Iterator[Event]:
        """Yield the events with which it begins, and its part."""
        yield from super().open()
        yield self._event("content_part.added", content_index=0, part=self._part(b'""'))

    def add(self, text: bytes, logprobs: Sequence[Logprob] = ()) -> Event:  # noqa: ARG002 - of messages only
        """Add the next piece of its text, encoded as JSON, and return its event."""
        self.keep(text)
        return self._event(f"{self.part_kind}.delta", content_index=0, delta=msgspec.Raw(text))

    def keep(self, text: bytes) -> None:
        """Add the next piece of its text, encoded as JSON."""
        self._text.append(text[1:-1])

    @property
    def text(self) -> bytes:
        """Its text, encoded as JSON."""
        return b'"%b"' % b"".join(self._text)

    def _last_events(self) -> Iterator[Event]:
        part = self._part(self.text)
        others = {name: value for name, value in part.items() if name in ("text", "logprobs")}
        yield self._event(f"{self.part_kind}.done", content_index=0, **others)
        yield self._event("content_part.done", content_index=0, part=part)

    def _parts(self) -> list[dict[str, Any]]:
        return [] if self.status == "in_progress" else [self._part(self.text)]

    def _part(self, text: bytes) -> dict[str, Any]:
        return {"type": self.part_kind, "text": msgspec.Raw(text)}


class MessageItem(TextItem):
    """A message of the model."""

    prefix = "msg"
    part_kind = "output_text"

    def __init__(self, index: int, seed: str) -> None:
        super().__init__(index, seed)
        self._logprobs: list[dict[str, Any]] = []

    def add(self, text: bytes, logprobs: Sequence[Logprob] = ()) -> Event:
        """Add the next piece of its text, encoded as JSON, with the log probabilities of its tokens."""
        told = logprob_objects(logprobs)
        self._logprobs += told
        return {**super().add(text), "logprobs": told}

    def as_object(self) -> dict[str, Any]:
        """Return it as it is now."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "status": self.status,
            "content": self._parts(),
        }

    def _part(self, text: bytes) -> dict[str, Any]:
        return {**super()._part(text), "annotations": [], "logprobs": [*self._logprobs]}


class ReasoningItem(TextItem):
    """The reasoning of the model before its answer."""

    prefix = "rs"
    part_kind = "reasoning_text"

    def as_object(self) -> dict[str, Any]:
        """Return it as it is now."""
        return {"id": self.id, "type": "reasoning", "summary": [], "content": self._parts(), "status": self.status}


class CallItem(OutputItem):
    """A call of a function.

    Parameters
    ----------
    index, seed:
        As for every item.
    call:
        The call, whose arguments grow.
    """

    prefix = "fc"

    def __init__(self, index: int, seed: str, call: ToolCall) -> None:
        super().__init__(index, seed)
        self._call = call

    def add(self, arguments: str) -> Event:
        """Return the event of the next piece of its arguments, which the call has already."""
        return self._event("function_call_arguments.delta", delta=arguments)

    def as_object(self) -> dict[str, Any]:
        """Return it as it is now."""
        return {
            "id": self.id,
            "type": "function_call",
            "call_id": self._call.id,
            "name": self._call.name,
            "arguments": "" if self.status == "in_progress" else self._call.arguments_text,
            "status": self.status,
        }

    def _last_events(self) -> Iterator[Event]:
        arguments = self._call.arguments_text
        yield self._event("function_call_arguments.done", name=self._call.name, arguments=arguments)
