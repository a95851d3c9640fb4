"""The body of a chat completion as OpenAI's clients send it, and the request that a handler takes of it.

Fields that are not here are ignored, or passed on as ``raw``; null counts as absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from penstock_chat import (
    Audio,
    ChatRequest,
    File,
    Image,
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
from penstock_openai.generation_body import GenerationBody
from penstock_openai.tool_choices import choose_tools

# ---- messages


class TextPart(msgspec.Struct, tag="text"):
    """Text."""

    text: str


class RefusalPart(msgspec.Struct, tag="refusal"):
    """A refusal of the assistant, in an earlier message."""

    refusal: str


class ImageAddress(msgspec.Struct):
    """The place of an image."""

    url: str
    detail: str | None = None


class ImagePart(msgspec.Struct, tag="image_url"):
    """An image."""

    image_url: ImageAddress


class AudioContent(msgspec.Struct):
    """A sound in base64."""

    data: str
    format: str = "wav"


class AudioPart(msgspec.Struct, tag="input_audio"):
    """A sound."""

    input_audio: AudioContent


class FileContent(msgspec.Struct):
    """A document, in a ``data:`` URL."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(msgspec.Struct, tag="file"):
    """A document."""

    file: FileContent


class CalledFunction(msgspec.Struct):
    """A function with its arguments."""

    name: str
    arguments: str = ""


class CallBody(msgspec.Struct):
    """A call of a tool, in an earlier message."""

    function: CalledFunction
    id: str = ""
    type: Literal["function"] = "function"


class MessageBody(msgspec.Struct):
    """A message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart | RefusalPart | ImagePart | AudioPart | FilePart] | None = None
    tool_calls: list[CallBody] | None = None
    tool_call_id: str | None = None
    name: str | None = None


# ---- tools


class FunctionBody(msgspec.Struct):
    """A function that the model may call."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolBody(msgspec.Struct):
    """A tool that the model may call."""

    function: FunctionBody
    type: Literal["function"] = "function"


class NamedFunction(msgspec.Struct):
    """The name of a function."""

    name: str


class NamedTool(msgspec.Struct):
    """A tool, by its name."""

    function: NamedFunction


class AllowedTools(msgspec.Struct):
    """The tools that may be called in this request."""

    mode: Literal["auto", "required"] = "auto"
    tools: list[NamedTool] = []


class ForcedChoice(msgspec.Struct, tag="function"):
    """A tool that has to be called."""

    function: NamedFunction


class AllowedChoice(msgspec.Struct, tag="allowed_tools"):
    """A choice among some of the tools."""

    allowed_tools: AllowedTools


# ---- the form of the answer


class SchemaBody(msgspec.Struct):
    """A named JSON Schema."""

    name: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class FormatBody(msgspec.Struct):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaBody | None = None


# ---- the body


class ChatBody(GenerationBody, kw_only=True):
    """The body of a chat completion."""

    messages: Annotated[list[MessageBody], msgspec.Meta(min_length=1)]
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[ToolBody] | None = None
    tool_choice: Literal["none", "auto", "required"] | ForcedChoice | AllowedChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: FormatBody | None = None
    reasoning_effort: str | None = None
    functions: list[Any] | None = None
    modalities: list[str] | None = None


def chat_request_of(body: ChatBody, raw: dict[str, Any]) -> ChatRequest:
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
    if body.functions:
        refuse("functions", "it has been replaced by tools; send the functions as tools")
    if "audio" in (body.modalities or ()):
        refuse("modalities", "answers are text")
    if body.top_logprobs and not body.logprobs:
        refuse("top_logprobs", "it needs logprobs to be true")
    request = ChatRequest(
        messages=[_message_of(message, place) for place, message in enumerate(body.messages)],
        tools=[_tool_of(tool.function) for tool in body.tools or ()],
        parallel_tool_calls=body.parallel_tool_calls is not False,
        reasoning_effort=body.reasoning_effort,
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
        response_format=_format_of(body.response_format),
        **body.sampling(raw),
    )
    request.max_tokens = body.max_completion_tokens or body.max_tokens
    _choose_tools(request, body.tool_choice)
    return request


def _message_of(body: MessageBody, place: int) -> Message:
    content = body.content
    if content is None:
        content = ""
    return Message(
        role=body.role,
        content=content if isinstance(content, str) else _parts_of(content, f"messages[{place}].content"),
        tool_calls=[ToolCall(call.id, call.function.name, call.function.arguments) for call in body.tool_calls or ()],
        tool_call_id=body.tool_call_id,
        name=body.name,
    )


def _parts_of(bodies: list[TextPart | RefusalPart | ImagePart | AudioPart | FilePart], param: str) -> list[Part]:
    return [_part_of(body, f"{param}[{place}]") for place, body in enumerate(bodies)]


def _part_of(body: TextPart | RefusalPart | ImagePart | AudioPart | FilePart, param: str) -> Part:
    if isinstance(body, TextPart):
        return Text(body.text)
    if isinstance(body, RefusalPart):
        return Text(body.refusal)
    if isinstance(body, ImagePart):
        return image_of(body.image_url.url, body.image_url.detail, f"{param}.image_url.url")
    if isinstance(body, AudioPart):
        return Audio(data_of_base64(body.input_audio.data, f"{param}.input_audio.data"), body.input_audio.format)
    if body.file.file_data is None:
        refuse(f"{param}.file", "it has no file_data; files are not stored here")
    media_type, data = data_of_url(body.file.file_data, f"{param}.file.file_data")
    return File(data, body.file.filename or "", media_type)


def image_of(url: str, detail: str | None, param: str) -> Image:
    """Return the image at a URL, which is not fetched; refuse one that is neither an http(s) nor a data: URL."""
    if url[:5].lower() == "data:":
        media_type, data = data_of_url(url, param)
        return Image(data=data, media_type=media_type, detail=detail)
    if not url.lower().startswith(("http://", "https://")):
        refuse(param, "it is neither an http(s) nor a data: URL")
    return Image(url, detail=detail)


def _tool_of(body: FunctionBody) -> Tool:
    return Tool(
        name=body.name,
        description=body.description or "",
        parameters=body.parameters or {},
        strict=bool(body.strict),
    )


def _format_of(body: FormatBody | None) -> ResponseFormat:
    if body is None:
        return ResponseFormat()
    if body.type != "json_schema":
        return ResponseFormat(type=body.type)
    if body.json_schema is None or body.json_schema.schema is None:
        refuse("response_format.json_schema", "it has no schema")
    schema = body.json_schema
    return ResponseFormat(type=body.type, name=schema.name, schema=schema.schema or {}, strict=bool(schema.strict))


def _choose_tools(
    request: ChatRequest, choice: Literal["none", "auto", "required"] | ForcedChoice | AllowedChoice | None
) -> None:
    """Set which tools may be called, and which have to be."""
    if isinstance(choice, ForcedChoice):
        choose_tools(request, "required", forced=choice.function.name)
    elif isinstance(choice, AllowedChoice):
        allowed = choice.allowed_tools
        choose_tools(request, allowed.mode, allowed={tool.function.name for tool in allowed.tools})
    else:
        choose_tools(request, choice or "auto")
