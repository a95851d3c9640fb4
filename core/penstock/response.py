"""The response that a handler may return instead of a plain value, and the encoded form of every result."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeAlias

import msgspec

JSON = "application/json"
OCTETS = "application/octet-stream"

SERVER_HEADERS: Final = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""The headers that frame the message. Only the server can set these correctly."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

# Workers send results over the wire, and must not send what no handler can return: the decoder checks that.
_SaneName: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"\A{_HEADER_NAME.pattern}\Z")]
_SaneValue: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"\A{_HEADER_VALUE.pattern}\Z")]
_FinalStatus: TypeAlias = Annotated[int, msgspec.Meta(ge=200, le=599)]


is_header_value: Final = _HEADER_VALUE.fullmatch
"""Returns a match if a text is valid as the value of a response header, else None; raises ``TypeError`` otherwise."""


def header_mistake(name: Any, value: Any) -> str | None:
    """Return why this is not a valid response header (RFC 9110, section 5), or None.

    A line break, for instance, would let the source of the value write the rest of the response.
    """
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        return f"{name!r} is not a valid name of a response header"
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        return f"the value of the response header {name} must be a str of one line, in Latin-1"
    return None


@dataclass(frozen=True)
class Response:
    """A result with full control over the response.

    Parameters
    ----------
    content:
        The body: ``bytes`` are sent unchanged, ``str`` as UTF-8 text, anything else as JSON. An iterator, plain or
        asynchronous, is a stream of chunks.
    media_type:
        The ``Content-Type``. Default: octet-stream for bytes, ``text/plain; charset=utf-8`` for str, else JSON. The
        chunks of a stream are bytes or text, and are sent as they are, if it is set; otherwise they are JSON.
    headers:
        Additional response headers.
    status:
        The HTTP status, 200 to 599.
    """

    content: Any
    media_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"Response(status={self.status!r}): use a final HTTP status, from 200 to 599")


class Encoded(msgspec.Struct, array_like=True, tag=0, frozen=True, gc=False):
    """An encoded result: the body, with its media type, status and headers."""

    body: bytes
    media_type: _SaneValue | None = None
    """The ``Content-Type``, or None for JSON, the common case."""
    status: _FinalStatus = 200
    headers: dict[_SaneName, _SaneValue] | None = None
