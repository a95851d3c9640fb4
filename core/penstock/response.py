"""What a handler may return to take charge of the whole response, and the encoded form that travels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

JSON = "application/json"
OCTETS = "application/octet-stream"


@dataclass(frozen=True)
class Response:
    """A response in full.

    Parameters
    ----------
    content:
        ``bytes`` are sent as they are, ``str`` as UTF-8 text, anything else as JSON.
    media_type:
        The ``Content-Type``. Default: octet-stream for bytes, ``text/plain; charset=utf-8`` for str, else JSON.
    headers:
        More response headers.
    status:
        The HTTP status, 200 to 599.
    """

    content: Any
    media_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"Response(status={self.status!r}): a final HTTP status is between 200 and 599")


class Encoded(msgspec.Struct, array_like=True, tag=0, frozen=True, gc=False):
    """A result on its way: the body's bytes and what must be said about them.

    ``media_type`` is None for plain JSON, the common case.
    """

    body: bytes
    media_type: str | None = None
    status: int = 200
    headers: dict[str, str] | None = None
