"""Responses as OpenAI's clients expect them: what they repeat of the request, and what has become of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from penstock.hooks import PublicError
from penstock_chat import ChatRequest, Tool, Usage
from penstock_openai.response_body import ResponseBody
from penstock_openai.response_output import ResponseOutput

_encode = msgspec.json.Encoder().encode


class ResponseMemo(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a response that are known before its output.

    Attributes
    ----------
    id, created_at:
        Those of the response.
    settings:
        Its fields that are known from the beginning, each encoded: schemas may be nested deeply.
    """

    id: str
    created_at: int
    settings: dict[str, msgspec.Raw]

    def as_object(self, output: ResponseOutput, status: str, **changed: Any) -> dict[str, Any]:
        """Return the response as it is now.

        Parameters
        ----------
        output:
            Its items, and the usage.
        status:
            Such as ``in_progress``.
        **changed:
            Fields that have a value.
        """
        usage = output.answer.usage
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "output": [item.as_object() for item in output.items],
            "usage": None if usage is None else response_usage(usage),
            **self.settings,
            **changed,
        }

    def finished(self, output: ResponseOutput) -> dict[str, Any]:
        """Return the response at its end, be it complete or cut short."""
        reason = output.incomplete_reason
        if reason is None:
            return self.as_object(output, "completed")
        return self.as_object(output, "incomplete", incomplete_details={"reason": reason})


def settings_of(body: ResponseBody, request: ChatRequest, model: str) -> dict[str, msgspec.Raw]:
    """Return the fields of a response that are known from the beginning, each encoded.

    Parameters
    ----------
    body:
        The body of the request.
    request:
        The same, as the handler takes it.
    model:
        The name by which the client has asked for the model.
    """
    settings = {
        "model": model,
        "background": bool(body.background),
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": request.metadata,
        "parallel_tool_calls": request.parallel_tool_calls,
        "previous_response_id": None,
        "reasoning": {"effort": request.reasoning_effort, "summary": None},
        "store": bool(body.background),
        "temperature": body.temperature,
        "text": {"format": _format_object(request)},
        "tool_choice": _choice_object(request),
        "tools": [_tool_object(tool) for tool in request.tools],
        "top_logprobs": request.top_logprobs,
        "top_p": body.top_p,
        "truncation": body.truncation or "disabled",
        "user": body.user,
    }
    return {name: msgspec.Raw(_encode(value)) for name, value in settings.items()}


def _format_object(request: ChatRequest) -> dict[str, Any]:
    form = request.response_format
    if form.type != "json_schema":
        return {"type": form.type}
    return {"type": form.type, "name": form.name, "schema": form.schema, "strict": form.strict}


def _choice_object(request: ChatRequest) -> Any:
    if request.forced_tool is None:
        return request.tool_choice
    return {"type": "function", "name": request.forced_tool}


def _tool_object(tool: Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description or None,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def response_usage(usage: Usage) -> dict[str, Any]:
    """Return the ``usage`` object."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def response_error(error: PublicError) -> dict[str, Any]:
    """Return the ``error`` object of a response that has failed. Its codes are fixed, others than those of statuses."""
    code = "rate_limit_exceeded" if error.status == 429 else "server_error"
    return {"code": code, "message": error.message, "type": error.type, "param": error.param}


def whole_response(chunks: Iterable[bytes], memo: ResponseMemo, *, seed: str = "") -> dict[str, Any]:
    """Return the response that some chunks are, with the items' ids by a seed, or random ones."""
    output = ResponseOutput(seed)
    for chunk in chunks:
        for _event in output.feed(chunk):
            pass
    for _event in output.finish():
        pass
    return memo.finished(output)
