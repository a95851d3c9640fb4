"""A whole response, before it is written into Falcon's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import falcon
import msgspec

from penstock.hosting import SERVER_HEADERS

OK = "ok"
# A stream that is stored or buffered on its way does not arrive as one; nginx obeys the second header.
STREAM_HEADERS = (("cache-control", "no-store"), ("x-accel-buffering", "no"))


class HttpResponse(msgspec.Struct, gc=False):
    """One response.

    Attributes
    ----------
    headers:
        Pairs of a lower-case name and a value.
    body:
        The whole body; None if ``stream`` or ``pieces`` has it.
    code:
        ``ok``, or the code of the error, for the request's record.
    handler_headers:
        The headers that a handler asked for.
    stream:
        The body of a streamed response, as an iterator for Falcon's ``resp.stream``.
    pieces:
        The content of a body that is in a file, as such an iterator.
    size_bytes:
        The size of that file.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes | None
    code: str = OK
    handler_headers: Mapping[str, str] | None = None
    stream: Any = None
    pieces: Any = None
    size_bytes: int = 0


def server_timing(queue_seconds: float | None, execution_seconds: float | None) -> str:
    """Return the ``Server-Timing`` header, in milliseconds; a phase that did not happen counts as zero."""
    return f"queue;dur={(queue_seconds or 0.0) * 1e3:.2f}, exec;dur={(execution_seconds or 0.0) * 1e3:.2f}"


NO_JOB_TIMING = server_timing(None, None)


def common_headers(request_id: str, media_type: str, timing: str = NO_JOB_TIMING) -> list[tuple[str, str]]:
    """Return the headers that every response carries."""
    return [("content-type", media_type), ("x-request-id", request_id), ("server-timing", timing)]


def write_handler_headers(resp: falcon.Response, headers: Mapping[str, str]) -> None:
    """Add the headers that a handler asked for, except those that only the server may set."""
    for name, value in headers.items():
        if name.lower() not in SERVER_HEADERS:
            # set_header refuses cookies.
            resp.append_header(name, value)
