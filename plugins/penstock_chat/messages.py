"""The messages of a conversation, and their parts."""

from __future__ import annotations

import base64
from typing import Any, Literal, TypeAlias

import msgspec

from penstock_chat.pieces import Text, ToolCall

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]


class Image(msgspec.Struct, tag="image", omit_defaults=True):
    """An image: the address of one, or its content.

    Parameters
    ----------
    url:
        Its address, which the server has not fetched; "" if there is ``data``.
    data:
        Its content; None if there is an address.
    media_type:
        Its type, such as ``image/png``, if the client has said so.
    detail:
        ``low``, ``high`` or ``auto``, if the client has said so.
    """

    url: str = ""
    data: bytes | None = None
    media_type: str = ""
    detail: str | None = None


class Audio(msgspec.Struct, tag="audio", omit_defaults=True):
    """A sound.

    Parameters
    ----------
    data:
        Its content.
    format:
        ``wav`` or ``mp3``.
    """

    data: bytes
    format: str = "wav"


class File(msgspec.Struct, tag="file", omit_defaults=True):
    """A document.

    Parameters
    ----------
    data:
        Its content.
    name:
        Its name, if the client has said so.
    media_type:
        Its type, such as ``application/pdf``, if the client has said so.
    """

    data: bytes
    name: str = ""
    media_type: str = ""


Part: TypeAlias = Text | Image | Audio | File


class Message(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One message of a conversation.

    Parameters
    ----------
    role:
        The role of its author.
    content:
        Its text, or its parts.
    tool_calls:
        The calls of tools that it asks for; of an assistant's message.
    tool_call_id:
        The id of the call that it answers; of a tool's message.
    is_error:
        True if the tool has failed; of a tool's message.
    name:
        The name of its author.
    """

    role: Role
    content: str | list[Part] = ""
    tool_calls: list[ToolCall] = []
    tool_call_id: str | None = None
    is_error: bool = False
    name: str | None = None

    @property
    def parts(self) -> list[Part]:
        """Its parts; a text is one of them, unless it is empty."""
        if isinstance(self.content, str):
            return [Text(self.content)] if self.content else []
        return self.content

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, Text))

    def as_dict(self) -> dict[str, Any]:
        """Return the message in the form of OpenAI, which chat templates of Hugging Face models take."""
        told: dict[str, Any] = {"role": self.role, "content": self.content}
        if not isinstance(self.content, str):
            told["content"] = [_part_as_dict(part) for part in self.content]
        if self.tool_calls:
            told["tool_calls"] = [_call_as_dict(call) for call in self.tool_calls]
        if self.tool_call_id is not None:
            told["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            told["name"] = self.name
        return told


def _call_as_dict(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments_text}
    return {"id": call.id, "type": "function", "function": function}


def _part_as_dict(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": part.url or _data_url(part.media_type, part.data)}}
    if isinstance(part, Audio):
        content = base64.b64encode(part.data).decode()
        return {"type": "input_audio", "input_audio": {"data": content, "format": part.format}}
    return {"type": "file", "file": {"filename": part.name, "file_data": _data_url(part.media_type, part.data)}}


def _data_url(media_type: str, data: bytes | None) -> str:
    return f"data:{media_type or 'application/octet-stream'};base64,{base64.b64encode(data or b'').decode()}"
