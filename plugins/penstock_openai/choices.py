"""Several answers to one request, each by a job of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from penstock.hooks import Payload
from penstock_chat import ChatAnswer, Sampling, pieces_of
from penstock_openai.answer_memo import AnswerMemo

SamplingT = TypeVar("SamplingT", bound=Sampling)


def choices_of(request: SamplingT, count: int) -> Iterator[SamplingT]:
    """Yield the requests for several answers: with a seed, each has the next one, or all answers would be the same."""
    for choice in range(count):
        seed = None if request.seed is None else request.seed + choice
        yield msgspec.structs.replace(request, choice=choice, seed=seed)


def payload_of(endpoint: str, inputs: Sequence[bytes], *, is_streamed: bool, memo: AnswerMemo) -> Payload:
    """Return the payload with one input, or with several that are answered together."""
    if len(inputs) == 1:
        return Payload(endpoint=endpoint, body=inputs[0], is_streamed=is_streamed, memo=memo)
    return Payload(endpoint=endpoint, parts=inputs, is_streamed=is_streamed, memo=memo)


def answer_of(chunks: Sequence[bytes]) -> ChatAnswer:
    """Return the answer that some chunks are."""
    return ChatAnswer(piece for chunk in chunks for piece in pieces_of(chunk))
