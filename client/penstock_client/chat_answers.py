"""The answer to a chat request, whole, and the events of one that is streamed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock_client.call_records import Attempt
from penstock_client.errors import InvalidAnswer


@dataclass(frozen=True)
class ToolCall:
    """A call of one of the program's functions that the model asks for, complete.

    Attributes
    ----------
    id:
        The name by which a message with the function's result refers to it; "" if the server has none.
    name:
        The name of the function.
    arguments:
        Its arguments, decoded.
    index:
        The number of the choice that it belongs to.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    index: int = 0


@dataclass(frozen=True)
class ContentDelta:
    """The next piece of the content of choice ``index``."""

    text: str
    index: int = 0


@dataclass(frozen=True)
class ReasoningDelta:
    """The next piece of the reasoning of choice ``index``."""

    text: str
    index: int = 0


@dataclass(frozen=True)
class Usage:
    """The tokens that the server has counted.

    Attributes
    ----------
    prompt_tokens, completion_tokens, total_tokens:
        The usual numbers; None for one that the server does not send.
    raw:
        All of them as they were sent: the tokens from a cache and those of the reasoning, for instance.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class UsageReport:
    """The usage of the whole answer. There is one at most, wherever and however often the server sends it."""

    usage: Usage


@dataclass(frozen=True)
class Done:
    """Choice ``index`` is complete.

    ``finish_reason`` is ``"stop"``, ``"length"``, ``"tool_calls"``, or another word of the server, and None if it does
    not say.
    """

    finish_reason: str | None
    index: int = 0


ChatEvent = ContentDelta | ReasoningDelta | ToolCall | UsageReport | Done


@dataclass(frozen=True)
class ChatChoice:
    """One of the answers to a request; there is more than one only if the request asks for them with ``n``.

    Attributes
    ----------
    content:
        The text; None if there is none, beside tool calls for instance. "" only if the server says so.
    reasoning:
        The text that the model wrote before; None if there is none.
    refusal:
        The reason of the model for not answering; None if there is none.
    tool_calls:
        The calls that the model asks for.
    finish_reason:
        See ``Done``. ``"length"`` says that the content ends where the limit on tokens was reached.
    index:
        The number of the choice.
    """

    content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    index: int = 0

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a message, for the messages of the next request."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.refusal is not None:
            message["refusal"] = self.refusal
        if self.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": msgspec.json.encode(call.arguments).decode()},
                }
                for call in self.tool_calls
            ]
        return message


@dataclass(frozen=True)
class ChatAnswer:
    """The answer to a chat request; that of a stream, as far as it has arrived.

    ``content``, ``reasoning``, ``refusal``, ``tool_calls``, ``finish_reason`` and ``message`` are those of the first
    choice.

    Attributes
    ----------
    choices:
        All choices, by their number.
    usage:
        The tokens that the server has counted; None if it does not say.
    model, id:
        The model that has answered, and the name of the answer; "" if the server does not say.
    raw:
        The whole body, decoded; None for a stream.
    headers, attempts:
        Facts about the response and the call, as on a ``Result``.
    """

    choices: tuple[ChatChoice, ...] = ()
    usage: Usage | None = None
    model: str = ""
    id: str = ""
    raw: Any = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    attempts: tuple[Attempt, ...] = field(default=(), repr=False)

    @property
    def content(self) -> str | None:
        """The text; see ``ChatChoice``."""
        return self._first.content

    @property
    def reasoning(self) -> str | None:
        """The text that the model wrote before; None if there is none."""
        return self._first.reasoning

    @property
    def refusal(self) -> str | None:
        """The reason of the model for not answering; None if there is none."""
        return self._first.refusal

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls that the model asks for."""
        return self._first.tool_calls

    @property
    def finish_reason(self) -> str | None:
        """The reason why the answer ends; see ``Done``."""
        return self._first.finish_reason

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a message, for the messages of the next request."""
        return self._first.message

    @property
    def request_id(self) -> str:
        """The server's ``X-Request-Id``; "" if it sends none."""
        return self.headers.get("x-request-id", "")

    def text(self) -> str:
        """Return the content, which must be there.

        Raises
        ------
        InvalidAnswer
            If there is none: the model has called tools, refused, or reached the limit on tokens before.
        """
        if self.content is None:
            error = InvalidAnswer(
                f"{InvalidAnswer.title}: it has no content, but {self._others()}; finish_reason={self.finish_reason!r}"
            )
            error.partial, error.may_have_run = self, True
            raise error
        return self.content

    @property
    def _first(self) -> ChatChoice:
        return self.choices[0] if self.choices else ChatChoice()

    def _others(self) -> str:
        names = [name for name in ("tool_calls", "refusal", "reasoning") if getattr(self, name)]
        return " and ".join(names) or "nothing else either"
