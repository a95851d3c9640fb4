"""A response before it is Falcon's: what every part of the adapters hands to the one place that writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import falcon

JSON = "application/json"
OK = "ok"

# The server frames the message; a handler that sets these could only break the framing.
SERVER_HEADERS = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


class Answer(NamedTuple):
    """One whole response.

    ``headers`` are pairs of a lower-case name and a value; ``more`` holds those that a handler asked for. A ``body`` of
    None leaves the body to the response's stream. ``code`` is that of the error, for those who keep a record.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes | None
    more: Mapping[str, str] | None = None
    code: str = OK


def server_timing(queue_seconds: float | None, execution_seconds: float | None) -> str:
    """The ``Server-Timing`` header, in milliseconds; a part that did not happen took none."""
    return f"queue;dur={(queue_seconds or 0.0) * 1e3:.2f}, exec;dur={(execution_seconds or 0.0) * 1e3:.2f}"


NO_JOB_TIMING = server_timing(None, None)


def common_headers(request_id: str, media_type: str, timing: str = NO_JOB_TIMING) -> list[tuple[str, str]]:
    """The headers that every response carries."""
    return [("content-type", media_type), ("x-request-id", request_id), ("server-timing", timing)]


def write(resp: Any, answer: Answer) -> None:
    """Put an answer into a Falcon response, ASGI or WSGI."""
    if answer.status != 200:
        resp.status = answer.status
    resp.data = answer.body
    if answer.more:
        write_handler_headers(resp, answer.more)
    resp.set_headers(answer.headers)


def write_handler_headers(resp: falcon.Response, headers: Mapping[str, str]) -> None:
    """Add the headers that a handler asked for, without those that belong to the server."""
    for name, value in headers.items():
        if name.lower() not in SERVER_HEADERS:
            # set_header refuses cookies.
            resp.append_header(name, value)
