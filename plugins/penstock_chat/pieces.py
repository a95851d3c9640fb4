"""The pieces of an answer, which chat handlers yield, or return whole: plain ``str`` is text.

They travel from the worker as JSON, so that a handler knows no protocol, and a dialect no handler.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]


class Logprob(msgspec.Struct, omit_defaults=True):
    """The log probability of one token.

    Parameters
    ----------
    token:
        Its text.
    logprob:
        Its natural logarithm of the probability.
    top:
        The likeliest tokens in its place, itself included.
    """

    token: str
    logprob: float
    top: list[Logprob] = []


class Text(msgspec.Struct, tag="text", omit_defaults=True):
    """Text: a part of a message, or a piece of an answer.

    Parameters
    ----------
    text:
        The text.
    logprobs:
        The log probabilities of its tokens, for requests that ask for them.
    """

    text: str
    logprobs: list[Logprob] | None = None


class Reasoning(msgspec.Struct, tag="reasoning"):
    """A piece of what the model thinks before it answers, which is not part of the answer."""

    text: str


class ToolCall(msgspec.Struct, tag="tool_call", omit_defaults=True):
    """A call of a tool by the model: whole, or a piece of it.

    Parameters
    ----------
    id:
        Its id. Default: one is made.
    name:
        The name of the tool. Only a piece of a call that has begun is without it.
    arguments:
        The arguments as JSON, or the next piece of that; or an object, which is encoded.
    index:
        The number of the call in the answer, from 0. Default: a new call if there is a name, otherwise the latest one.
    """

    id: str = ""
    name: str = ""
    arguments: str | dict[str, Any] = ""
    index: int | None = None

    @property
    def arguments_text(self) -> str:
        """The arguments as JSON, or a piece of that."""
        return self.arguments if isinstance(self.arguments, str) else msgspec.json.encode(self.arguments).decode()


class Usage(msgspec.Struct, tag="usage", omit_defaults=True):
    """The tokens of a request and its answer. If there are several, the last one counts.

    Parameters
    ----------
    prompt_tokens, completion_tokens:
        The numbers of tokens.
    cached_tokens:
        Those of the prompt that were in a cache.
    reasoning_tokens:
        Those of the answer that were spent on reasoning.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Finish(msgspec.Struct, tag="finish", omit_defaults=True):
    """The reason why the answer ends here. Without it: ``tool_calls`` if there are any, otherwise ``stop``.

    Parameters
    ----------
    reason:
        ``length`` if the answer was cut at ``max_tokens``.
    stop_sequence:
        The stop sequence that ended it, if one did.
    """

    reason: FinishReason = "stop"
    stop_sequence: str | None = None


Piece: TypeAlias = str | Text | Reasoning | ToolCall | Usage | Finish

PIECES = (str, Text, Reasoning, ToolCall, Usage, Finish)

decode_piece = msgspec.json.Decoder(Piece).decode
"""Decode a chunk of a chat handler's stream."""

_decode_result = msgspec.json.Decoder(Piece | list[Piece] | None).decode


def pieces_of(result: bytes) -> list[Piece]:
    """Return the pieces of a result that a handler has returned as a whole: one of them, or a list."""
    pieces = _decode_result(result)
    if pieces is None:
        return []
    return pieces if isinstance(pieces, list) else [pieces]
