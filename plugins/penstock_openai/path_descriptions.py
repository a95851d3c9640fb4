"""The paths as the OpenAPI document shows them: the fields that every client sends, and not all that are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_TEXT: Final = {"type": "string"}
_STREAM: Final = {"type": "boolean", "default": False, "description": "Send the answer as it is made."}
_MESSAGE: Final = {
    "type": "object",
    "properties": {"role": _TEXT, "content": _TEXT},
    "required": ["role"],
    "additionalProperties": True,
}


def chat_description(models: list[str]) -> dict[str, Any]:
    """Return the description of chat completions with these models."""
    messages = {"type": "array", "items": _MESSAGE, "minItems": 1}
    fields = {"model": _model(models), "messages": messages, "stream": _STREAM}
    return _described("Continue a conversation, as OpenAI's clients ask for it.", fields, "messages")


def completion_description(models: list[str]) -> dict[str, Any]:
    """Return the description of completions with these models."""
    fields = {"model": _model(models), "prompt": _TEXT, "stream": _STREAM}
    return _described("Continue a text, as OpenAI's clients ask for it.", fields, "prompt")


def embedding_description(models: list[str]) -> dict[str, Any]:
    """Return the description of embeddings with these models."""
    fields = {"model": _model(models), "input": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}}
    return _described("Embed texts, as OpenAI's clients ask for it.", fields, "input")


MODELS_DESCRIPTION: Final = {"summary": "List the models that OpenAI's clients may name."}
MODEL_DESCRIPTION: Final = {"summary": "Describe one of the models that OpenAI's clients may name."}


def _model(models: list[str]) -> dict[str, Any]:
    return {"type": "string", "examples": models}


def _described(summary: str, fields: Mapping[str, Any], required: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": fields, "required": [required], "additionalProperties": True}
    return {"summary": summary, "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
