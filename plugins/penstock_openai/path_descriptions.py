"""The paths as the OpenAPI document shows them: the fields that every client sends, and not all that are read."""

from __future__ import annotations

from typing import Any, Final

from penstock_chat import describe_operation

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
    fields = {"messages": messages, "stream": _STREAM}
    return describe_operation("Continue a conversation, as OpenAI's clients ask for it.", models, fields, ["messages"])


def completion_description(models: list[str]) -> dict[str, Any]:
    """Return the description of completions with these models."""
    fields = {"prompt": _TEXT, "stream": _STREAM}
    return describe_operation("Continue a text, as OpenAI's clients ask for it.", models, fields, ["prompt"])


def embedding_description(models: list[str]) -> dict[str, Any]:
    """Return the description of embeddings with these models."""
    fields = {"input": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}}
    return describe_operation("Embed texts, as OpenAI's clients ask for it.", models, fields, ["input"])


MODELS_DESCRIPTION: Final = {"summary": "List the models that OpenAI's clients may name."}
MODEL_DESCRIPTION: Final = {"summary": "Describe one of the models that OpenAI's clients may name."}
