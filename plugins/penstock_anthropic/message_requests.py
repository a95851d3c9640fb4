"""The request that a handler takes of a body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock_anthropic.content_blocks import (
    Block,
    HiddenThinkingBlock,
    PartBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    content_of,
    placed,
)
from penstock_anthropic.message_body import (
    Choice,
    ClientTool,
    ConversationBody,
    MessagesBody,
    NoChoice,
    OneChoice,
    ThinkingBody,
    TurnBody,
)
from penstock_chat import ChatRequest, Message, ResponseFormat, Tool, ToolCall, checked_stops, encoded_input, refuse

MEDIUM_BUDGET_TOKENS = 2048
HIGH_BUDGET_TOKENS = 4096


def messages_request(body: MessagesBody, raw: dict[str, Any]) -> ChatRequest:
    """Return the request that a handler takes for a message.

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
    request = conversation_request(body, raw)
    request.max_tokens = body.max_tokens
    request.stop = checked_stops(body.stop_sequences or (), "stop_sequences")
    request.temperature = body.temperature
    request.top_p = body.top_p
    request.user = None if body.metadata is None else body.metadata.user_id
    if body.top_k is not None:
        request.raw["top_k"] = body.top_k
    return request


def conversation_request(body: ConversationBody, raw: dict[str, Any]) -> ChatRequest:
    """Return the part of a request that has tokens; the parameters and errors are those of ``messages_request``."""
    if body.mcp_servers:
        refuse("mcp_servers", "the tools of servers are not called here; declare them in tools, and call them yourself")
    request = ChatRequest(
        model=body.model or "",
        messages=list(_messages_of(body)),
        tools=[_tool_of(tool, f"tools[{place}]") for place, tool in enumerate(body.tools or ())],
        raw=dict(raw),
    )
    if body.tool_choice is not None:
        _choose_tools(request, body.tool_choice)
    if body.thinking is not None:
        request.reasoning_effort = _effort_of(body.thinking)
        request.raw["thinking"] = msgspec.to_builtins(body.thinking)
    if body.output_config is not None:
        request.reasoning_effort = body.output_config.effort or request.reasoning_effort
        if body.output_config.format is not None:
            schema = body.output_config.format.schema
            request.response_format = ResponseFormat(type="json_schema", schema=schema, strict=True)
    return request


def _effort_of(thinking: ThinkingBody) -> str | None:
    """Return the effort that a budget stands for; the budget itself is in ``raw``."""
    if thinking.type == "disabled":
        return "none"
    if thinking.type != "enabled":
        return None
    if thinking.budget_tokens is None:
        refuse("thinking.budget_tokens", "it is missing")
    if thinking.budget_tokens < MEDIUM_BUDGET_TOKENS:
        return "low"
    return "medium" if thinking.budget_tokens < HIGH_BUDGET_TOKENS else "high"


def _tool_of(body: ClientTool, param: str) -> Tool:
    if body.type not in (None, "custom"):
        refuse(param, f"tools of the type {body.type[:100]!r} are not known here; give it an input_schema, and no type")
    if body.input_schema is None:
        refuse(f"{param}.input_schema", "it is missing")
    return Tool(
        name=body.name,
        description=body.description or "",
        parameters=body.input_schema,
        strict=bool(body.strict),
    )


def _choose_tools(request: ChatRequest, choice: Choice) -> None:
    """Set which tools may be called, and which have to be."""
    if isinstance(choice, NoChoice):
        request.tool_choice = "none"
        return
    request.parallel_tool_calls = not choice.disable_parallel_tool_use
    if isinstance(choice, OneChoice):
        request.tool_choice, request.forced_tool = "required", choice.name
    else:
        request.tool_choice = "auto" if choice.__struct_config__.tag == "auto" else "required"


# ---- messages


def _messages_of(body: ConversationBody) -> Iterator[Message]:
    if body.system:
        system = body.system if isinstance(body.system, str) else content_of(placed(body.system, "system"))
        yield Message(role="system", content=system)
    for index, turn in enumerate(body.messages):
        yield from _turn_messages(turn, f"messages[{index}].content")


def _turn_messages(turn: TurnBody, param: str) -> Iterator[Message]:
    """Yield the messages of a turn: results of tools are messages of their own.

    They come first, wherever they are among the blocks, because that is where models expect them: behind the calls.
    """
    if isinstance(turn.content, str):
        yield Message(role=turn.role, content=turn.content)
        return
    parts: list[tuple[str, PartBlock]] = []
    calls: list[ToolCall] = []
    results: list[Message] = []
    for place, block in placed(turn.content, param):
        _require_author(block, turn.role, place)
        if isinstance(block, ToolResultBlock):
            results.append(_result_message(block, place))
        elif isinstance(block, ToolUseBlock):
            calls.append(ToolCall(block.id, block.name, encoded_input(block.input).decode()))
        elif not isinstance(block, (ThinkingBlock, HiddenThinkingBlock)):
            parts.append((place, block))
    yield from results
    if parts or not results:
        yield Message(role=turn.role, content=content_of(parts), tool_calls=calls)


def _require_author(block: Block, role: str, param: str) -> None:
    if isinstance(block, ToolResultBlock) and role != "user":
        refuse(param, "tool_result blocks belong into messages of the user")
    if isinstance(block, ToolUseBlock) and role != "assistant":
        refuse(param, "tool_use blocks belong into messages of the assistant")


def _result_message(block: ToolResultBlock, param: str) -> Message:
    content = block.content or ""
    return Message(
        role="tool",
        content=content if isinstance(content, str) else content_of(placed(content, f"{param}.content")),
        tool_call_id=block.tool_use_id,
        is_error=bool(block.is_error),
    )
