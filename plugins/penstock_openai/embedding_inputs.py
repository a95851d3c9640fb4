"""The parameters of a handler that embeds: what it takes, and how its input is written."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.errors import DeclarationError
from penstock.hooks import Endpoint
from penstock_chat import refuse
from penstock_openai.completion_body import Prompt

DIMENSIONS = "dimensions"

_encode = msgspec.json.Encoder().encode


class EmbeddingParameters:
    """The parameters of one handler.

    Parameters
    ----------
    endpoint:
        Its endpoint.
    owner:
        The declaration to name in errors.

    Attributes
    ----------
    takes_text, takes_tokens:
        True if its input may be a text, and the ids of tokens.
    takes_dimensions:
        True if it has a parameter ``dimensions``.

    Raises
    ------
    DeclarationError
        If it has no parameter for the input, or needs others.
    """

    def __init__(self, endpoint: Endpoint, owner: str) -> None:
        codec = endpoint.codec
        parameters = {parameter.name: parameter for parameter in codec.parameters}
        self.takes_dimensions = parameters.pop(DIMENSIONS, None) is not None
        needed = [parameter for parameter in parameters.values() if parameter.required] or list(parameters.values())
        if len(needed) != 1 or codec.has_values:
            raise DeclarationError(
                f"{owner} needs a handler with one parameter for the input, and perhaps `dimensions`; write "
                "`def embed(text: str) -> list[float]`, or with batching `def embed(text: list[str])`"
            )
        types = _types_in(needed[0].schema)
        self.takes_text = not types or "string" in types
        self.takes_tokens = not types or "array" in types
        if not (self.takes_text or self.takes_tokens):
            raise DeclarationError(f"{owner} needs a handler that takes text; annotate `{needed[0].name}: str`")
        self._name = None if codec.is_whole else needed[0].name

    def body_of(self, value: Prompt, dimensions: int | None) -> bytes:
        """Return the body for one input.

        Raises
        ------
        InvalidRequest
            If the handler does not take it.
        """
        if isinstance(value, str) and not self.takes_text:
            refuse("input", "this model takes ids of tokens, and no text")
        if not isinstance(value, str) and not self.takes_tokens:
            refuse("input", "this model takes text, and no ids of tokens; LangChain: check_embedding_ctx_length=False")
        if dimensions is not None and not self.takes_dimensions:
            refuse(DIMENSIONS, "this model has vectors of one length")
        if self._name is None:
            return _encode(value)
        fields: dict[str, Any] = {self._name: value}
        if dimensions is not None:
            fields[DIMENSIONS] = dimensions
        return _encode(fields)


def _types_in(schema: Any) -> set[str]:
    """Return the types that a schema allows at its top; none if it says nothing."""
    options = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    types = [option["type"] for option in options if "type" in option]
    return {each for found in types for each in (found if isinstance(found, list) else [found])}
