"""Answers to chat completions: whole, and streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from penstock.hooks import RouteResponse
from penstock_chat import ChatAnswer, Logprob, Piece, Reasoning, Text, ToolCall, total_usage
from penstock_openai.answer_memo import AnswerMemo
from penstock_openai.choice_stream import ChoiceStream
from penstock_openai.usage_objects import usage_object

_encode = msgspec.json.Encoder().encode


def whole_chat(answers: Sequence[ChatAnswer], memo: AnswerMemo) -> RouteResponse:
    """Return the response with the answers, one for each choice."""
    usage = total_usage(answers, shares_prompt=True)
    completion: dict[str, Any] = {
        "id": memo.id,
        "object": "chat.completion",
        "created": memo.created,
        "model": memo.model,
        "choices": [_whole_choice(answer, index, memo) for index, answer in enumerate(answers)],
    }
    if usage is not None:
        completion["usage"] = usage_object(usage)
    return RouteResponse.json(completion)


def _whole_choice(answer: ChatAnswer, index: int, memo: AnswerMemo) -> dict[str, Any]:
    text = answer.whole_text
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not answer.calls else None,
        "refusal": None,
    }
    if answer.reasoning:
        message["reasoning_content"] = answer.whole_reasoning
    if answer.calls:
        message["tool_calls"] = [_call_object(call) for call in answer.calls]
    logprobs = {"content": logprob_objects(answer.logprobs), "refusal": None} if memo.wants_logprobs else None
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.reason}


def _call_object(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_text}}


def logprob_objects(logprobs: Sequence[Logprob]) -> list[dict[str, Any]]:
    """Return the log probabilities of tokens as clients expect them."""
    return [{**_token_object(each), "top_logprobs": [_token_object(other) for other in each.top]} for each in logprobs]


def _token_object(logprob: Logprob) -> dict[str, Any]:
    return {"token": logprob.token, "logprob": logprob.logprob, "bytes": list(logprob.token.encode())}


class ChatStream(ChoiceStream):
    """The stream of a chat completion."""

    kind = "chat.completion.chunk"

    def _first_events(self, index: int) -> Iterator[bytes]:
        yield self._event(_choice_of(index, {"role": "assistant", "content": ""}))

    def _text_event(self, index: int, text: bytes) -> bytes:
        choice = b'{"index":%d,"delta":{"content":%b},"logprobs":null,"finish_reason":null}' % (index, text)
        return self._head + choice + self._tail

    def _choice(self, index: int, piece: Piece) -> dict[str, Any] | None:
        if isinstance(piece, Text):
            choice = _choice_of(index, {"content": piece.text})
            if piece.logprobs:
                choice["logprobs"] = {"content": logprob_objects(piece.logprobs), "refusal": None}
            return choice
        if isinstance(piece, Reasoning):
            return _choice_of(index, {"reasoning_content": piece.text})
        assert isinstance(piece, ToolCall), "the others are not events of a choice"
        return _choice_of(index, {"tool_calls": [_call_delta(self._answers[index].add_call(piece))]})

    def _last_event(self, index: int, reason: str) -> bytes:
        return self._event(_choice_of(index, {}, reason))


def _choice_of(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _call_delta(call: ToolCall) -> dict[str, Any]:
    """Return a piece of a call; only the first has an id and a name, since clients join them as they do the others."""
    if not call.id:
        return {"index": call.index, "function": {"arguments": call.arguments_text}}
    function = {"name": call.name, "arguments": call.arguments_text}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}
