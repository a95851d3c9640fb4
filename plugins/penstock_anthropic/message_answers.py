"""Whole answers, and what they have in common with streamed ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.hooks import RouteResponse
from penstock_anthropic.answer_blocks import AnswerBlock, BlockSequence, arguments_object
from penstock_anthropic.message_memo import MessageMemo
from penstock_chat import ChatAnswer, Finish, Piece, SchemaMismatch, ToolCall, Usage

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def whole_message(pieces: Iterable[Piece], memo: MessageMemo) -> RouteResponse:
    """Return the response with an answer.

    Raises
    ------
    SchemaMismatch
        If the model has called a tool with arguments that are not an object, unless the answer was cut.
    """
    answer = new_answer()
    content = _Content()
    blocks = BlockSequence(content)
    for piece in pieces:
        placed = answer.add(piece)
        if not isinstance(placed, (Usage, Finish)):
            blocks.add(placed)
    blocks.end()
    message = {
        **message_head(memo),
        "content": [_block_object(block, text, is_cut=answer.reason == "length") for block, text in content.blocks],
        **stop_fields(answer),
        "usage": usage_object(answer.usage),
    }
    response = RouteResponse.json(message)
    return RouteResponse(body=response.body, headers={"request-id": memo.request_id})


def new_answer() -> ChatAnswer:
    """Return an answer whose calls have ids of the form that clients know."""
    return ChatAnswer(call_prefix="toolu_")


def message_head(memo: MessageMemo) -> dict[str, Any]:
    """Return the first fields of a message."""
    return {"id": memo.id, "type": "message", "role": "assistant", "model": memo.model}


def stop_fields(answer: ChatAnswer) -> dict[str, Any]:
    """Return why the answer has ended."""
    reason = "stop_sequence" if answer.stop_sequence is not None else _REASONS[answer.reason]
    return {"stop_reason": reason, "stop_sequence": answer.stop_sequence}


def usage_object(usage: Usage | None) -> dict[str, Any]:
    """Return the ``usage``. Unlike those of a ``Usage``, its tokens of the input are without the ones in a cache."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    cached = usage.cached_tokens or 0
    told: dict[str, Any] = {
        "input_tokens": max(0, usage.prompt_tokens - cached),
        "output_tokens": usage.completion_tokens,
    }
    if usage.cached_tokens is not None:
        told["cache_read_input_tokens"] = cached
    if usage.reasoning_tokens is not None:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return told


def empty_block(block: AnswerBlock) -> dict[str, Any]:
    """Return a block as it begins."""
    if block.kind == "text":
        return {"type": "text", "text": ""}
    if block.kind == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    assert isinstance(block.call, ToolCall), "each call begins with a piece that has its name"
    return {"type": "tool_use", "id": block.call.id, "name": block.call.name, "input": {}}


class _Content:
    """A writer that keeps the blocks, each with all of its text."""

    def __init__(self) -> None:
        self.blocks: list[tuple[AnswerBlock, str]] = []
        self._texts: list[str] = []

    def start(self, index: int, block: AnswerBlock) -> None:  # noqa: ARG002 - as every writer has it
        self._texts = []

    def add(self, index: int, block: AnswerBlock, text: str) -> None:  # noqa: ARG002 - as every writer has it
        self._texts.append(text)

    def stop(self, index: int, block: AnswerBlock) -> None:  # noqa: ARG002 - as every writer has it
        self.blocks.append((block, "".join(self._texts)))


def _block_object(block: AnswerBlock, text: str, *, is_cut: bool) -> dict[str, Any]:
    told = empty_block(block)
    if block.kind != "tool_use":
        told[block.kind] = text
        return told
    arguments = arguments_object(text.strip())
    if arguments is None and not is_cut:
        raise SchemaMismatch(
            f"The model has called the tool {told['name']!r} with arguments that are not a JSON object"
        )
    told["input"] = arguments or {}
    return told
