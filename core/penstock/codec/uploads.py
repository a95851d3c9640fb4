"""Uploads: the files of a form, as handlers receive them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from penstock.response import OCTETS


class Upload:
    """A file that the caller has sent, in memory. Nothing of it is on a disk.

    Parameters
    ----------
    content:
        Its bytes.
    name:
        Its name as the client says, without folders and control characters; "" if it says none. It may be any other
        text, so do not open a file of that name.
    media_type:
        Its media type as the client says.
    """

    __slots__ = ("content", "media_type", "name")

    def __init__(self, content: bytes, name: str = "", media_type: str = OCTETS) -> None:
        self.content = content
        self.name = name
        self.media_type = media_type

    def __repr__(self) -> str:
        return f"<Upload {self.name!r}, {self.media_type}, {self.size} bytes>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Upload):
            return NotImplemented
        return (self.content, self.name, self.media_type) == (other.content, other.name, other.media_type)

    def __hash__(self) -> int:
        return hash((self.content, self.name, self.media_type))

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.content)

    def open(self) -> BinaryIO:
        """Return the content as a file, for libraries that read one."""
        return io.BytesIO(self.content)


UPLOAD_SCHEMA: Final = {"type": "string", "contentMediaType": OCTETS}
"""The JSON Schema of an upload: a file among the fields of a form."""


def plain_upload(upload: Upload) -> dict[str, str]:
    """Return an upload as JSON has it, on the way from an embedding program to its worker."""
    content = base64.b64encode(upload.content).decode()
    return {"content": content, "name": upload.name, "media_type": upload.media_type}


def upload_of(value: Any) -> Upload:
    """Return the upload that an embedding program has passed, as itself or as bytes.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(value, Upload):
        return value
    facts = value if isinstance(value, Mapping) else {"content": value}
    content = facts.get("content")
    if not isinstance(content, str) or not facts.keys() <= {"content", "name", "media_type"}:
        raise ValueError("Expected a file")
    return Upload(
        base64.b64decode(content, validate=True), str(facts.get("name", "")), str(facts.get("media_type", OCTETS))
    )
