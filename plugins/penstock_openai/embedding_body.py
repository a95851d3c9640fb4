"""The body of a request for embeddings as OpenAI's clients send it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from penstock_chat import refuse
from penstock_openai.completion_body import Prompt, inputs_of


class EmbeddingBody(msgspec.Struct, kw_only=True):
    """The body of a request for embeddings. None: absent, or null."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None


def embedding_inputs_of(body: EmbeddingBody, most: int) -> list[Prompt]:
    """Return the inputs, each of which gets a vector.

    Raises
    ------
    InvalidRequest
        If there is none, or more than ``most``, or if one of them is empty.
    """
    inputs = inputs_of(body.input, "input")
    if len(inputs) > most:
        refuse("input", f"there may be {most} inputs in one request at most")
    if not all(inputs):
        refuse("input", "an input is empty")
    return inputs
