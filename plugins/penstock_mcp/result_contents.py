"""The result of a handler as the contents of a tool's result: text, an image, a sound, or a file."""

from __future__ import annotations

import base64
import re
from typing import Any, Final
from uuid import uuid4

import msgspec

from penstock.hooks import CollectedChunks

_JSON: Final = re.compile(r"application/([\w.-]+\+)?json")
_TEXT: Final = re.compile(r"text/.*|application/([\w.-]+\+)?(xml|yaml)")

_decode_text = msgspec.json.Decoder(str).decode


def bare_type(media_type: str) -> str:
    """Return a media type without its parameters."""
    return media_type.partition(";")[0].strip().lower()


def is_json(media_type: str | None) -> bool:
    """Return whether a body with this media type is JSON, as that of a plain value is."""
    return media_type is None or _JSON.fullmatch(bare_type(media_type)) is not None


def text_content(text: str) -> dict[str, Any]:
    """Return a text as a content."""
    return {"type": "text", "text": text}


def json_text(body: bytes) -> str:
    """Return JSON as a model reads it best: a text as it is, and everything else as JSON."""
    return _decode_text(body) if body.startswith(b'"') else body.decode()


def file_content(body: bytes, media_type: str) -> dict[str, Any]:
    """Return bytes as a content of the kind that their media type names."""
    name = bare_type(media_type)
    if _TEXT.fullmatch(name):
        return text_content(body.decode(errors="replace"))
    data = base64.b64encode(body).decode()
    kind = name.partition("/")[0]
    if kind in ("image", "audio"):
        return {"type": kind, "data": data, "mimeType": name}
    # A resource has to have an address, although this one cannot be asked for again.
    return {"type": "resource", "resource": {"uri": f"urn:uuid:{uuid4()}", "mimeType": name, "blob": data}}


def joined_chunks(chunks: CollectedChunks) -> tuple[bytes, str]:
    """Return the chunks of a stream of JSON values as a list, and as a text: texts are put together as they come."""
    body = b"[%b]" % b",".join(chunks)
    if chunks and all(chunk.startswith(b'"') for chunk in chunks):
        return body, "".join(map(_decode_text, chunks))
    return body, body.decode()
