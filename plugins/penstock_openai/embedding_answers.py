"""Answers to requests for embeddings."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from penstock.errors import HandlerError
from penstock.hooks import RouteResponse


class Embedding(msgspec.Struct):
    """A vector, and what it has cost; a handler may return it in the place of the vector alone.

    Parameters
    ----------
    embedding:
        The vector: a list of numbers, or a numpy array.
    tokens:
        The tokens of the input, which the usage adds up.
    """

    embedding: Any
    tokens: int = 0


class _Vector(msgspec.Struct):
    embedding: list[float]
    tokens: int = 0


class EmbeddingMemo(msgspec.Struct, frozen=True):
    """The parts of the request that the answer repeats."""

    model: str
    format: Literal["float", "base64"]


_decode = msgspec.json.Decoder(list[float] | _Vector).decode


def embeddings_response(results: Sequence[bytes], memo: EmbeddingMemo) -> RouteResponse:
    """Return the response with the vectors, which are the results of the handler, in the order of the inputs.

    Raises
    ------
    HandlerError
        If a result is not a vector.
    """
    vectors = [_vector_of(result) for result in results]
    tokens = sum(vector.tokens for vector in vectors)
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector.embedding, memo.format)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return RouteResponse.json({"object": "list", "data": data, "model": memo.model, "usage": usage})


def _vector_of(result: bytes) -> _Vector:
    try:
        found = _decode(result)
    except msgspec.MsgspecError as error:
        raise HandlerError(
            f"a handler of embeddings has returned something that is not a vector: {error}; return a list of floats, "
            "or an Embedding of penstock_openai"
        ) from None
    return found if isinstance(found, _Vector) else _Vector(found)


def _written(vector: list[float], form: Literal["float", "base64"]) -> list[float] | str:
    if form == "float":
        return vector
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
