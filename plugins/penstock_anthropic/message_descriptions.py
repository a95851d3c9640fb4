"""The paths as the OpenAPI document shows them: the fields that every client sends, and not all that are read."""

from __future__ import annotations

from typing import Any, Final

from penstock_chat import describe_operation

_TEXT: Final = {"type": "string"}
_MESSAGE: Final = {
    "type": "object",
    "properties": {"role": _TEXT, "content": {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}}]}},
    "required": ["role", "content"],
    "additionalProperties": True,
}
_MESSAGES: Final = {"type": "array", "items": _MESSAGE, "minItems": 1}

LIST_DESCRIPTION: Final = {"summary": "List the models that Anthropic's clients may name."}
ENTRY_DESCRIPTION: Final = {"summary": "Describe one of the models that Anthropic's clients may name."}


def message_description(models: list[str]) -> dict[str, Any]:
    """Return the description of messages by these models."""
    fields = {
        "messages": _MESSAGES,
        "max_tokens": {"type": "integer", "minimum": 1},
        "stream": {"type": "boolean", "default": False, "description": "Send the answer as it is made."},
    }
    summary = "Continue a conversation, as Anthropic's clients ask for it."
    return describe_operation(summary, models, fields, ["max_tokens", "messages"])


def token_description(models: list[str]) -> dict[str, Any]:
    """Return the description of counts of tokens for these models."""
    summary = "Count the tokens of a conversation, as Anthropic's clients ask for it."
    return describe_operation(summary, models, {"messages": _MESSAGES}, ["messages"])
