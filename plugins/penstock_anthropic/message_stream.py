"""The stream of an answer: named events, and the blocks one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.hooks import PublicError, on_one_line
from penstock_anthropic.answer_blocks import AnswerBlock, BlockKind, BlockSequence
from penstock_anthropic.anthropic_errors import error_object
from penstock_anthropic.message_answers import empty_block, message_head, new_answer, stop_fields, usage_object
from penstock_anthropic.message_memo import MessageMemo
from penstock_chat import Finish, ToolCall, Usage, pieces_of

_encode = msgspec.json.Encoder().encode

_DELTAS: dict[BlockKind, tuple[str, str]] = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}


class MessageStream:
    """A framing, and the writer of its own blocks.

    Parameters
    ----------
    memo:
        The facts about the request that the answer repeats.
    """

    media_type = "text/event-stream; charset=utf-8"
    is_piecewise = False
    keep_alive = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, memo: MessageMemo) -> None:
        self._memo = memo
        self._answer = new_answer()
        self._blocks = BlockSequence(self)
        self._has_begun = False
        self._events: list[bytes] = []

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        """Return the events of some chunks."""
        for chunk in chunks:
            index = self._blocks.text_index if chunk.startswith(b'"') else None
            if index is not None:  # plain text, which is JSON already
                self._events.append(_text_event(index, chunk))
            else:
                self._add(chunk)
        return self._taken()

    @property
    def end(self) -> bytes:
        """The ends of the blocks, the reason, the usage, and the end of the message."""
        self._begin()
        self._blocks.end()
        delta = {"type": "message_delta", "delta": stop_fields(self._answer), "usage": usage_object(self._answer.usage)}
        self._events += [_event(delta), _event({"type": "message_stop"})]
        return self._taken()

    def error(self, error: PublicError) -> bytes:
        """Return an event with the error."""
        return on_one_line(_event(error_object(error)))

    # ---- the writer of the blocks

    def start(self, index: int, block: AnswerBlock) -> None:
        """Write the event with which a block begins."""
        self._events.append(
            _event({"type": "content_block_start", "index": index, "content_block": empty_block(block)})
        )

    def add(self, index: int, block: AnswerBlock, text: str) -> None:
        """Write the event of a piece."""
        kind, field = _DELTAS[block.kind]
        self._events.append(
            _event({"type": "content_block_delta", "index": index, "delta": {"type": kind, field: text}})
        )

    def stop(self, index: int, block: AnswerBlock) -> None:  # noqa: ARG002 - as every writer has it
        """Write the event with which a block ends."""
        self._events.append(_event({"type": "content_block_stop", "index": index}))

    def _add(self, chunk: bytes) -> None:
        for piece in pieces_of(chunk):
            if isinstance(piece, (Usage, Finish)):
                self._answer.add(piece)
                continue
            self._begin()
            # The text itself is not needed again, and an answer may be long.
            self._blocks.add(self._answer.add_call(piece) if isinstance(piece, ToolCall) else piece)

    def _begin(self) -> None:
        """Write the event with which the message begins, unless it has begun."""
        if self._has_begun:
            return
        self._has_begun = True
        nothing_yet: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
        usage = {**usage_object(self._answer.usage), "output_tokens": 0}
        message = {**message_head(self._memo), **nothing_yet, "usage": usage}
        self._events.append(_event({"type": "message_start", "message": message}))

    def _taken(self) -> bytes:
        events, self._events = b"".join(self._events), []
        return on_one_line(events)


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), _encode(data))


def _text_event(index: int, text: bytes) -> bytes:
    """Return the event of a piece of text, which is encoded."""
    delta = b'{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%b}}' % (index, text)
    return b"event: content_block_delta\ndata: %b\n\n" % delta
