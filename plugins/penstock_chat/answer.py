"""An answer as it grows: the pieces of one choice, gathered for a protocol that wants to say how it ended."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

from penstock_chat.pieces import Logprob, Piece, Reasoning, Text, ToolCall, Usage


class ChatAnswer:
    """The pieces of one answer, gathered.

    Parameters
    ----------
    pieces:
        The first of them.
    call_prefix:
        The beginning of the ids that are made for calls of tools without one.
    call_seed:
        The rest of these ids, before a number; the same seed makes the same ids. Default: they are random.

    Attributes
    ----------
    text, reasoning:
        The pieces of text and of reasoning so far.
    logprobs:
        Those of the text.
    calls:
        The calls of tools, each with an id, a name and its arguments so far.
    usage:
        The last one that the handler has yielded, or None.
    stop_sequence:
        The one that has ended it, or None.
    """

    def __init__(self, pieces: Iterable[Piece] = (), *, call_prefix: str = "call_", call_seed: str = "") -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.logprobs: list[Logprob] = []
        self.calls: list[ToolCall] = []
        self.usage: Usage | None = None
        self.stop_sequence: str | None = None
        self._call_prefix, self._call_seed = call_prefix, call_seed
        self._reason: str | None = None
        self._places: dict[int, int] = {}
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Piece) -> Piece:
        """Add the next piece, and return it.

        One of a call of a tool is returned with the ``index`` of its call, and with an ``id`` and a ``name`` only if it
        is the first of its call.
        """
        if isinstance(piece, str):
            self.text.append(piece)
        elif isinstance(piece, Text):
            self.text.append(piece.text)
            self.logprobs += piece.logprobs or []
        elif isinstance(piece, Reasoning):
            self.reasoning.append(piece.text)
        elif isinstance(piece, ToolCall):
            return self.add_call(piece)
        elif isinstance(piece, Usage):
            self.usage = piece
        else:
            self._reason, self.stop_sequence = piece.reason, piece.stop_sequence
        return piece

    def add_call(self, piece: ToolCall) -> ToolCall:
        """Add the next piece of a call, and return it as ``add`` does."""
        place = self._place_of(piece)
        if place < len(self.calls):
            call = self.calls[place]
            call.arguments = call.arguments_text + piece.arguments_text
            return ToolCall(arguments=piece.arguments_text, index=place)
        made = f"{self._call_seed}{place:02x}" if self._call_seed else uuid4().hex[:24]
        identifier = piece.id or f"{self._call_prefix}{made}"
        self.calls.append(ToolCall(identifier, piece.name, piece.arguments_text, place))
        return ToolCall(identifier, piece.name, piece.arguments_text, place)

    def _place_of(self, piece: ToolCall) -> int:
        """Return the place of a piece's call, which may be a new one. Handlers may number calls as they like."""
        new = len(self.calls)
        if piece.index is not None:
            return self._places.setdefault(piece.index, new)
        return new if piece.name or not self.calls else new - 1

    @property
    def whole_text(self) -> str:
        """All of its text."""
        return "".join(self.text)

    @property
    def whole_reasoning(self) -> str:
        """All of its reasoning."""
        return "".join(self.reasoning)

    @property
    def reason(self) -> str:
        """The reason why it ended, in the words of ``Finish``."""
        if self._reason in (None, "stop") and self.calls and self.stop_sequence is None:
            return "tool_calls"
        return self._reason or "stop"


def total_usage(answers: Iterable[ChatAnswer], *, shares_prompt: bool) -> Usage | None:
    """Return the usage of several answers together; None if not all of them have one.

    Parameters
    ----------
    answers:
        The answers.
    shares_prompt:
        True if they answer the same prompt, which then counts once.
    """
    usages = [answer.usage for answer in answers]
    known = [usage for usage in usages if usage is not None]
    if not known or len(known) < len(usages):
        return None
    counted = known[:1] if shares_prompt else known
    return Usage(
        sum(usage.prompt_tokens for usage in counted),
        sum(usage.completion_tokens for usage in known),
        _sum([usage.cached_tokens for usage in counted]),
        _sum([usage.reasoning_tokens for usage in known]),
    )


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
