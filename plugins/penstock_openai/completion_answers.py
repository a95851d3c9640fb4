"""Answers to completions: whole, and streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from penstock.hooks import RouteResponse
from penstock_chat import ChatAnswer, Logprob, Piece, Text, total_usage
from penstock_openai.answer_memo import AnswerMemo
from penstock_openai.choice_stream import ChoiceStream
from penstock_openai.usage_objects import usage_object

_encode = msgspec.json.Encoder().encode


def whole_completion(answers: Sequence[ChatAnswer], memo: AnswerMemo) -> RouteResponse:
    """Return the response with the answers, one for each choice."""
    usage = total_usage(answers, shares_prompt=memo.prompts == 1)
    completion: dict[str, Any] = {
        "id": memo.id,
        "object": "text_completion",
        "created": memo.created,
        "model": memo.model,
        "choices": [
            {
                "index": index,
                "text": _echo_of(index, memo) + answer.whole_text,
                "logprobs": _logprobs_object(answer.logprobs, 0) if memo.wants_logprobs else None,
                "finish_reason": _reason(answer.reason),
            }
            for index, answer in enumerate(answers)
        ],
    }
    if usage is not None:
        completion["usage"] = usage_object(usage)
    return RouteResponse.json(completion)


def _echo_of(index: int, memo: AnswerMemo) -> str:
    return memo.echoes[index] if memo.echoes else ""


def _reason(reason: str) -> str:
    """Return a reason in the words of completions, which know no tools."""
    return "stop" if reason == "tool_calls" else reason


def _logprobs_object(logprobs: Sequence[Logprob], offset: int) -> dict[str, Any]:
    offsets = []
    for logprob in logprobs:
        offsets.append(offset)
        offset += len(logprob.token)
    return {
        "tokens": [logprob.token for logprob in logprobs],
        "token_logprobs": [logprob.logprob for logprob in logprobs],
        "top_logprobs": [{other.token: other.logprob for other in logprob.top} for logprob in logprobs],
        "text_offset": offsets,
    }


class CompletionStream(ChoiceStream):
    """The stream of a completion."""

    kind = "text_completion"

    def __init__(self, memo: AnswerMemo, count: int) -> None:
        super().__init__(memo, count)
        self._lengths = [0] * count

    def _first_events(self, index: int) -> Iterator[bytes]:
        echo = _echo_of(index, self._memo)
        if echo:
            yield self._text_event(index, _encode(echo))

    def _text_event(self, index: int, text: bytes) -> bytes:
        choice = b'{"index":%d,"text":%b,"logprobs":null,"finish_reason":null}' % (index, text)
        return self._head + choice + self._tail

    def _choice(self, index: int, piece: Piece) -> dict[str, Any] | None:
        if not isinstance(piece, Text):
            return None
        choice = _choice_of(index, piece.text)
        if piece.logprobs:
            choice["logprobs"] = _logprobs_object(piece.logprobs, self._lengths[index])
        self._lengths[index] += len(piece.text)
        return choice

    def _last_event(self, index: int, reason: str) -> bytes:
        return self._event(_choice_of(index, "", _reason(reason)))


def _choice_of(index: int, text: str, reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
