"""The content blocks of an answer: one after the other, whatever the order in which the handler yields their pieces."""

from __future__ import annotations

from collections import deque
from typing import Literal, Protocol, TypeAlias

import msgspec

from penstock_chat import Reasoning, Text, ToolCall

BlockKind: TypeAlias = Literal["text", "thinking", "tool_use"]


class AnswerBlock:
    """A block of an answer.

    Parameters
    ----------
    kind:
        Its type.
    call:
        The first piece of the call of a tool, which has its id and its name.

    Attributes
    ----------
    texts:
        The pieces of its text, or of its arguments, so far; those of the first text or thought are not kept.
    """

    __slots__ = ("call", "is_closed", "kind", "texts")

    def __init__(self, kind: BlockKind, call: ToolCall | None = None) -> None:
        self.kind = kind
        self.call = call
        self.texts: list[str] = []
        self.is_closed = False

    @property
    def is_over(self) -> bool:
        """True if a piece of another block means that it has ended: a call only with whole arguments."""
        if self.kind != "tool_use":
            return True
        arguments = "".join(self.texts).strip()
        return arguments.endswith("}") and arguments_object(arguments) is not None


def arguments_object(arguments: str) -> dict[str, object] | None:
    """Return the arguments of a call as an object; None if they are not one. An empty text has none."""
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, object])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


class BlockWriter(Protocol):
    """The writer of the blocks of an answer, which come one after the other."""

    def start(self, index: int, block: AnswerBlock) -> None:
        """Begin a block."""

    def add(self, index: int, block: AnswerBlock, text: str) -> None:
        """Add a piece to the block that has begun last."""

    def stop(self, index: int, block: AnswerBlock) -> None:
        """End that block."""


class BlockSequence:
    """The blocks of an answer, in order.

    A block begins when the one before it has ended. Pieces of calls that take turns are held back until then.

    Parameters
    ----------
    writer:
        The writer of the blocks.
    """

    def __init__(self, writer: BlockWriter) -> None:
        self._writer = writer
        self._index = 0
        self._blocks: deque[AnswerBlock] = deque()
        self._calls: dict[int, AnswerBlock] = {}

    @property
    def text_index(self) -> int | None:
        """The index of the block to which a piece of text would be added at once; None if there is none."""
        return self._index if len(self._blocks) == 1 and self._blocks[0].kind == "text" else None

    def add(self, piece: str | Text | Reasoning | ToolCall) -> None:
        """Add a piece; one of a call of a tool is as ``ChatAnswer.add`` returns it."""
        if isinstance(piece, ToolCall):
            self._add(self._block_of_call(piece), piece.arguments_text)
            return
        text = piece if isinstance(piece, str) else piece.text
        if text:
            self._add(self._last("thinking" if isinstance(piece, Reasoning) else "text"), text)

    def end(self) -> None:
        """End all blocks."""
        while self._blocks:
            self._close_first()

    def _last(self, kind: BlockKind) -> AnswerBlock:
        if self._blocks and self._blocks[-1].kind == kind:
            return self._blocks[-1]
        return self._append(AnswerBlock(kind))

    def _block_of_call(self, piece: ToolCall) -> AnswerBlock:
        assert piece.index is not None, "it is numbered"
        block = self._calls.get(piece.index)
        if block is None:
            block = self._calls[piece.index] = self._append(AnswerBlock("tool_use", piece))
        return block

    def _append(self, block: AnswerBlock) -> AnswerBlock:
        self._blocks.append(block)
        if len(self._blocks) == 1:
            self._writer.start(self._index, block)
        else:
            self._go_on()
        return block

    def _add(self, block: AnswerBlock, text: str) -> None:
        if not text or block.is_closed:  # behind whole arguments there is nothing but white space
            return
        is_first = block is self._blocks[0]
        if not is_first or block.kind == "tool_use":
            block.texts.append(text)
        if is_first:
            self._writer.add(self._index, block, text)
            self._go_on()

    def _go_on(self) -> None:
        """Begin the next block, if there is one and if the first has ended."""
        while len(self._blocks) > 1 and self._blocks[0].is_over:
            self._close_first()

    def _close_first(self) -> None:
        block = self._blocks.popleft()
        block.is_closed = True
        self._writer.stop(self._index, block)
        self._index += 1
        if not self._blocks:
            return
        following = self._blocks[0]
        self._writer.start(self._index, following)
        if following.texts:
            self._writer.add(self._index, following, "".join(following.texts))
