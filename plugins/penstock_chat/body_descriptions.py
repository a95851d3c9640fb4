"""The operations of protocols as the OpenAPI document shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def describe_operation(
    summary: str,
    models: Sequence[str],
    fields: Mapping[str, Any],
    required: Sequence[str],
    *,
    media_type: str = "application/json",
) -> dict[str, Any]:
    """Return the description of an operation whose body names a model.

    Parameters
    ----------
    summary:
        A sentence about it.
    models:
        The names of the models.
    fields:
        The schemas of the fields that every client sends. Others are allowed.
    required:
        The names of those that have to be there.
    media_type:
        The content type of the body.
    """
    properties = {"model": {"type": "string", "examples": list(models)}, **fields}
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": True}
    return {"summary": summary, "requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}
