"""The request that a handler takes of a request for a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock_chat import (
    Audio,
    ChatRequest,
    File,
    Message,
    Part,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    data_of_base64,
    data_of_url,
    refuse,
)
from penstock_openai.chat_body import image_of
from penstock_openai.response_body import LOGPROBS, FlatTool, ItemBody, PartBody, ResponseBody, ToolChoiceBody
from penstock_openai.tool_choices import ToolMode, choose_tools

_IGNORED_ITEMS = ("reasoning",)


def chat_request_of_response(body: ResponseBody, raw: dict[str, Any]) -> ChatRequest:
    """Return the request that a handler takes.

    Parameters
    ----------
    body:
        The body.
    raw:
        Its other fields.

    Raises
    ------
    InvalidRequest
        If it asks for what no handler could do.
    """
    text = body.text
    if text is not None and text.verbosity is not None:
        raw = {**raw, "verbosity": text.verbosity}
    request = ChatRequest(
        model=body.model or "",
        messages=_messages_of(body),
        tools=[_tool_of(tool, place) for place, tool in enumerate(body.tools or ())],
        parallel_tool_calls=body.parallel_tool_calls is not False,
        reasoning_effort=None if body.reasoning is None else body.reasoning.effort,
        response_format=text.format.response_format() if text and text.format else ResponseFormat(),
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=body.max_output_tokens,
        logprobs=bool(body.top_logprobs) or LOGPROBS in (body.include or ()),
        top_logprobs=body.top_logprobs or 0,
        user=body.user,
        metadata=body.metadata or {},
        raw=raw,
    )
    _choose(request, body.tool_choice)
    return request


# ---- the conversation


def _messages_of(body: ResponseBody) -> list[Message]:
    if body.input is None:
        refuse("input", "it is missing")
    messages = [Message(role="system", content=body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        return [*messages, Message(role="user", content=body.input)]
    for place, item in enumerate(body.input):
        _add_item(messages, item, f"input[{place}]")
    if not messages:
        refuse("input", "it has no messages")
    return messages


def _add_item(messages: list[Message], item: ItemBody, param: str) -> None:
    """Add an item to the conversation. Calls of tools join the message of the assistant that they follow."""
    if item.type in (None, "message"):
        if item.role is None:
            refuse(f"{param}.role", "it is missing")
        messages.append(Message(role=item.role, content=_content_of(item.content, f"{param}.content")))
    elif item.type == "function_call":
        if not messages or messages[-1].role != "assistant":
            messages.append(Message(role="assistant"))
        call = ToolCall(_given(item.call_id, f"{param}.call_id"), _given(item.name, f"{param}.name"))
        call.arguments = item.arguments or ""
        messages[-1].tool_calls = [*messages[-1].tool_calls, call]
    elif item.type == "function_call_output":
        identifier = _given(item.call_id, f"{param}.call_id")
        content = _content_of(item.output, f"{param}.output")
        messages.append(Message(role="tool", content=content, tool_call_id=identifier))
    elif item.type == "item_reference":
        refuse(f"{param}.type", "items are not stored here; send the item itself")
    elif item.type not in _IGNORED_ITEMS:
        refuse(f"{param}.type", f"items of the type {item.type[:100]!r} are not supported")


def _given(value: str | None, param: str) -> str:
    if value is None:
        refuse(param, "it is missing")
    return value


def _content_of(content: str | Sequence[PartBody] | None, param: str) -> str | list[Part]:
    if content is None or isinstance(content, str):
        return content or ""
    return [_part_of(part, f"{param}[{place}]") for place, part in enumerate(content)]


def _part_of(body: PartBody, param: str) -> Part:
    if body.type in ("input_text", "output_text"):
        return Text(_given(body.text, f"{param}.text"))
    if body.type == "refusal":
        return Text(_given(body.refusal, f"{param}.refusal"))
    if body.type == "input_image":
        return image_of(_given(body.image_url, f"{param}.image_url"), body.detail, f"{param}.image_url")
    if body.type == "input_file":
        return _file_of(body, f"{param}.file_data")
    if body.type != "input_audio":
        refuse(f"{param}.type", f"parts of the type {body.type[:100]!r} are not supported")
    if body.input_audio is None:
        refuse(f"{param}.input_audio", "it is missing")
    return Audio(data_of_base64(body.input_audio.data, f"{param}.input_audio.data"), body.input_audio.format)


def _file_of(body: PartBody, param: str) -> File:
    """Return a document, of which clients send either a ``data:`` URL or the base64 alone."""
    if body.file_data is None:
        refuse(param, "it is missing, and files are neither stored nor fetched here")
    if body.file_data[:5].lower() != "data:":
        return File(data_of_base64(body.file_data, param), body.filename or "")
    media_type, data = data_of_url(body.file_data, param)
    return File(data, body.filename or "", media_type)


# ---- tools


def _tool_of(body: FlatTool, place: int) -> Tool:
    if body.type != "function":
        refuse(f"tools[{place}].type", f"tools of the type {body.type[:100]!r} are not supported, only functions are")
    if not body.name:
        refuse(f"tools[{place}].name", "it is missing")
    return Tool(
        name=body.name,
        description=body.description or "",
        parameters=body.parameters or {},
        strict=bool(body.strict),
    )


def _choose(request: ChatRequest, choice: ToolMode | ToolChoiceBody | None) -> None:
    """Set which tools may be called, and which have to be."""
    if not isinstance(choice, ToolChoiceBody):
        choose_tools(request, choice or "auto")
    elif choice.type == "function":
        choose_tools(request, "required", forced=_given(choice.name, "tool_choice.name"))
    elif choice.type == "allowed_tools":
        choose_tools(request, choice.mode, allowed={tool.name or "" for tool in choice.tools})
    else:
        refuse("tool_choice.type", f"tools of the type {choice.type[:100]!r} are not supported, only functions are")
