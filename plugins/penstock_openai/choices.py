"""Several answers to one request, each by a job of its own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.hooks import Payload
from penstock_chat import ChatAnswer, Sampling, encoded_input, pieces_of, refuse
from penstock_openai.answer_memo import AnswerMemo

MOST_INPUT_BYTES = 64 << 20
"""A request for several answers becomes as many inputs, which are queued together."""


def inputs_for(requests: Sequence[Sampling], count: int) -> list[bytes]:
    """Return the inputs of a handler for several answers to each request.

    Raises
    ------
    InvalidRequest
        If they are too large together.
    """
    inputs = [encoded_input(request) for request in requests]
    if sum(map(len, inputs)) * count > MOST_INPUT_BYTES:
        refuse("n", f"the request is too large to be answered {count} times; ask for fewer answers at a time")
    if count == 1:
        return inputs
    return [encoded_input(_choice_of(request, choice)) for request in requests for choice in range(count)]


def _choice_of(request: Sampling, choice: int) -> Sampling:
    """Return the request for one of several answers: with a seed, each has the next one, or all would be the same."""
    seed = None if request.seed is None else request.seed + choice
    return msgspec.structs.replace(request, choice=choice, seed=seed)


def payload_of(endpoint: str, inputs: Sequence[bytes], *, is_streamed: bool, memo: AnswerMemo) -> Payload:
    """Return the payload with one input, or with several that are answered together."""
    if len(inputs) == 1:
        return Payload(endpoint=endpoint, body=inputs[0], is_streamed=is_streamed, memo=memo)
    return Payload(endpoint=endpoint, parts=inputs, is_streamed=is_streamed, memo=memo)


def answer_of(chunks: Sequence[bytes]) -> ChatAnswer:
    """Return the answer that some chunks are."""
    return ChatAnswer(piece for chunk in chunks for piece in pieces_of(chunk))
