"""The usage, as OpenAI's clients expect it."""

from __future__ import annotations

from typing import Any

from penstock_chat import Usage


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return the ``usage`` object."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.cached_tokens is not None:
        told["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return told
