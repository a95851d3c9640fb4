"""The code of an error, in the body of a response or in the last chunk of a stream that failed."""

from __future__ import annotations

import json
import re
from typing import Any

_URN = re.compile(r"urn:[a-z0-9-]+:(?P<code>[\w.-]+)")
_ERROR_CHUNK = re.compile(rb'^(?:data: ?)?(?P<document>\{"error": ?.*\})\s*$', re.MULTILINE)
MOST_CODE_LENGTH = 60


def code_of_body(body: bytes) -> str:
    """Return the code in a problem document or in an OpenAI-style error; empty if there is none."""
    return _code_in(_object(body))


def code_of_stream(tail: bytes) -> str:
    """Return the code of the error with which a stream ended; empty if it ended well.

    Parameters
    ----------
    tail:
        The last bytes of the stream: lines of JSON, or server-sent events.
    """
    found = _ERROR_CHUNK.findall(tail)
    document = _object(found[-1]) if found else {}
    if not isinstance(document.get("error"), dict):
        return ""  # a chunk of the handler's own may have a field of this name
    return _code_in(document) or "error"


def _object(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _code_in(document: dict[str, Any]) -> str:
    error = document.get("error")
    found = error.get("code") or error.get("type") if isinstance(error, dict) else document.get("code")
    if not isinstance(found, str):
        urn = _URN.fullmatch(str(document.get("type", "")))
        found = urn["code"] if urn else ""
    printable = "".join(letter for letter in found if letter.isprintable())
    return printable[:MOST_CODE_LENGTH]
