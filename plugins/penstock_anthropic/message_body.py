"""The body of a message request as Anthropic's clients send it.

Fields that are not here are ignored, or passed on as ``raw``; null counts as absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from penstock_anthropic.content_blocks import Block, TextBlock


class TurnBody(msgspec.Struct):
    """A message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class ClientTool(msgspec.Struct):
    """A tool that the model may call; one of a type of its own has no schema."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None
    strict: bool | None = None


# ---- the choice among tools


class AutoChoice(msgspec.Struct, tag="auto"):
    """The model decides whether to call tools."""

    disable_parallel_tool_use: bool | None = None


class AnyChoice(msgspec.Struct, tag="any"):
    """The model has to call a tool."""

    disable_parallel_tool_use: bool | None = None


class OneChoice(msgspec.Struct, tag="tool"):
    """The model has to call this tool."""

    name: str
    disable_parallel_tool_use: bool | None = None


class NoChoice(msgspec.Struct, tag="none"):
    """The model calls no tool."""


Choice: TypeAlias = AutoChoice | AnyChoice | OneChoice | NoChoice

# ---- settings


class ThinkingBody(msgspec.Struct, omit_defaults=True):
    """The wish for more or less thinking."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    display: str | None = None


class SchemaForm(msgspec.Struct):
    """The form of the answer."""

    schema: dict[str, Any]
    type: Literal["json_schema"] = "json_schema"


class OutputConfig(msgspec.Struct):
    """The effort, and the form of the answer."""

    effort: str | None = None
    format: SchemaForm | None = None


class CallerLabels(msgspec.Struct):
    """Labels of the client's."""

    user_id: str | None = None


class ConversationBody(msgspec.Struct, kw_only=True):
    """The part of the body that has tokens to count."""

    model: str | None = None
    messages: Annotated[list[TurnBody], msgspec.Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[ClientTool] | None = None
    tool_choice: Choice | None = None
    thinking: ThinkingBody | None = None
    output_config: OutputConfig | None = None
    mcp_servers: list[Any] | None = None


class MessagesBody(ConversationBody, kw_only=True):
    """The body of a request for a message."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    metadata: CallerLabels | None = None
