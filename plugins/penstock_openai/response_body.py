"""The body of a request for a response, as OpenAI's clients send it.

Fields that are not here are ignored, or passed on as ``raw``; null counts as absent. Items, parts and tools have many
types, of which each has fields of its own: those that are read here are in one struct, and its ``type`` decides.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from penstock_chat import ResponseFormat, refuse
from penstock_openai.tool_choices import ToolMode

LOGPROBS = "message.output_text.logprobs"

# ---- the input


class SoundBody(msgspec.Struct):
    """A sound in base64."""

    data: str
    format: str = "wav"


class PartBody(msgspec.Struct):
    """A part of a message, or of the output of a function."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_data: str | None = None
    filename: str | None = None
    input_audio: SoundBody | None = None


class ItemBody(msgspec.Struct):
    """An item of the input. One without a type is a message."""

    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[PartBody] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[PartBody] | None = None


# ---- tools


class FlatTool(msgspec.Struct):
    """A tool that the model may call."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoiceBody(msgspec.Struct):
    """A tool that has to be called, or a choice among some of the tools."""

    type: str
    name: str | None = None
    mode: Literal["auto", "required"] = "auto"
    tools: list[FlatTool] = []


# ---- the form of the answer


class TextFormatBody(msgspec.Struct):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None

    def response_format(self) -> ResponseFormat:
        """Return it as a handler takes it."""
        if self.type != "json_schema":
            return ResponseFormat(type=self.type)
        if self.schema is None:
            refuse("text.format.schema", "it is missing")
        return ResponseFormat(type=self.type, name=self.name, schema=self.schema, strict=bool(self.strict))


class TextBody(msgspec.Struct):
    """The form of the text of the answer."""

    format: TextFormatBody | None = None
    verbosity: str | None = None


class ReasoningBody(msgspec.Struct):
    """The settings of the model's reasoning."""

    effort: str | None = None


# ---- the body


class ResponseBody(msgspec.Struct, kw_only=True):
    """The body of a request for a response. None: absent, or null."""

    model: str | None = None
    input: str | list[ItemBody] | None = None
    instructions: str | None = None
    stream: bool | None = None
    tools: list[FlatTool] | None = None
    tool_choice: ToolMode | ToolChoiceBody | None = None
    parallel_tool_calls: bool | None = None
    text: TextBody | None = None
    reasoning: ReasoningBody | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    truncation: str | None = None
    user: str | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None

    def refuse_state(self) -> None:
        """Refuse a request that refers to what an earlier one has stored, or wants a background response as a stream.

        ``store`` is accepted: clients send it by default. Only background responses are stored, and the response says
        whether it is.
        """
        if self.previous_response_id is not None:
            refuse("previous_response_id", "responses are not continued here; send the whole conversation as the input")
        if self.conversation is not None:
            refuse("conversation", "conversations are not stored here; send the whole conversation as the input")
        if self.prompt is not None:
            refuse("prompt", "prompts are not stored here; send its text as instructions")
        if self.background and self.stream:
            refuse("background", "a background response cannot be streamed; leave out one of `background` and `stream`")
