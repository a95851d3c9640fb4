"""The content blocks of requests as Anthropic's clients send them, and the parts of messages that they become."""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

import msgspec

from penstock_chat import File, Image, Part, Text, data_of_base64, refuse

# ---- sources


class Base64Source(msgspec.Struct, tag="base64"):
    """A content in base64."""

    data: str
    media_type: str


class AddressSource(msgspec.Struct, tag="url"):
    """The address of a content."""

    url: str


class StoredSource(msgspec.Struct, tag="file"):
    """A content that was uploaded before."""

    file_id: str


class PlainSource(msgspec.Struct, tag="text"):
    """A plain text."""

    data: str
    media_type: str = "text/plain"


# ---- blocks


class TextBlock(msgspec.Struct, tag="text"):
    """Text."""

    text: str


class ImageBlock(msgspec.Struct, tag="image"):
    """An image."""

    source: Base64Source | AddressSource | StoredSource


class InlineSource(msgspec.Struct, tag="content"):
    """A document that consists of blocks."""

    content: str | list[TextBlock | ImageBlock]


class DocumentBlock(msgspec.Struct, tag="document"):
    """A document."""

    source: Base64Source | PlainSource | InlineSource | AddressSource | StoredSource
    title: str | None = None


class ToolUseBlock(msgspec.Struct, tag="tool_use"):
    """A call of a tool, in an earlier message of the assistant."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(msgspec.Struct, tag="tool_result"):
    """The result of a call."""

    tool_use_id: str
    content: str | list[TextBlock | ImageBlock | DocumentBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(msgspec.Struct, tag="thinking"):
    """A thought of the assistant, in an earlier message. It is not repeated to the model."""


class HiddenThinkingBlock(msgspec.Struct, tag="redacted_thinking"):
    """A thought that the client cannot read."""


PartBlock: TypeAlias = TextBlock | ImageBlock | DocumentBlock
Block: TypeAlias = PartBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | HiddenThinkingBlock


def content_of(blocks: list[tuple[str, PartBlock]]) -> str | list[Part]:
    """Return the content of a message: a lone text as such, which is the same as one block of it.

    Parameters
    ----------
    blocks:
        The blocks, each with its place in the body, for errors.

    Raises
    ------
    InvalidRequest
        If one of them cannot be read.
    """
    parts = [part for place, block in blocks for part in _parts_of(block, place)]
    if not parts:
        return ""
    first = parts[0]
    return first.text if len(parts) == 1 and isinstance(first, Text) else parts


def placed(blocks: list[Any], param: str) -> list[tuple[str, Any]]:
    """Return blocks, each with its place in the body."""
    return [(f"{param}[{index}]", block) for index, block in enumerate(blocks)]


def _parts_of(block: PartBlock, param: str) -> list[Part]:
    if isinstance(block, TextBlock):
        return [Text(block.text)]
    if isinstance(block, ImageBlock):
        return [_image_of(block.source, f"{param}.source")]
    return _document_of(block, f"{param}.source")


def _image_of(source: Base64Source | AddressSource | StoredSource, param: str) -> Image:
    if isinstance(source, Base64Source):
        return Image(data=data_of_base64(source.data, f"{param}.data"), media_type=source.media_type)
    if isinstance(source, StoredSource):
        _refuse_stored(param)
    if not source.url.lower().startswith(("http://", "https://")):
        refuse(f"{param}.url", "it is not an http(s) URL; send the image in base64")
    return Image(source.url)


def _document_of(block: DocumentBlock, param: str) -> list[Part]:
    source, name = block.source, block.title or ""
    if isinstance(source, Base64Source):
        return [File(data_of_base64(source.data, f"{param}.data"), name, source.media_type)]
    if isinstance(source, PlainSource):
        return [File(source.data.encode(), name, source.media_type)]
    if isinstance(source, StoredSource):
        _refuse_stored(param)
    if isinstance(source, AddressSource):
        refuse(param, "documents are not fetched from URLs; send the content in base64")
    if isinstance(source.content, str):
        return [Text(source.content)]
    return [part for place, each in placed(source.content, f"{param}.content") for part in _parts_of(each, place)]


def _refuse_stored(param: str) -> NoReturn:
    refuse(param, "files are not stored here; send the content in base64")
