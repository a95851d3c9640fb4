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


def response_description(models: list[str]) -> dict[str, Any]:
    """Return the description of responses with these models."""
    items = {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object", "additionalProperties": True}}]}
    fields = {"input": items, "instructions": _TEXT, "stream": _STREAM}
    summary = "Respond to a conversation, as OpenAI's clients and agents ask for it."
    return describe_operation(summary, models, fields, ["input"])


def speech_description(models: list[str]) -> dict[str, Any]:
    """Return the description of speech with these models."""
    fields = {"input": _TEXT, "voice": _TEXT, "response_format": _TEXT}
    return describe_operation("Speak a text, as OpenAI's clients ask for it.", models, fields, ["input"])


def transcription_description(models: list[str], summary: str) -> dict[str, Any]:
    """Return the description of transcriptions, or translations, with these models."""
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    fields = {"file": file, "response_format": _TEXT, "stream": _STREAM}
    return describe_operation(summary, models, fields, ["file"], media_type="multipart/form-data")


MODELS_DESCRIPTION: Final = {"summary": "List the models that OpenAI's clients may name."}
MODEL_DESCRIPTION: Final = {"summary": "Describe one of the models that OpenAI's clients may name."}
