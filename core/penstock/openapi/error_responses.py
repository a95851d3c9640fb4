"""The responses that are errors: the problem document, and one shared response for each status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

from penstock import errors
from penstock.errors import DeclarationError, EngineError, PenstockError
from penstock.hooks.native_dialect import PROBLEM

PROBLEM_NAME: Final = "Problem"

_NEVER_SENT: Final = (DeclarationError, EngineError)  # mistakes of the program, which no client meets
_WITH_RETRY_AFTER: Final = frozenset({429, 503})
_BY_NAME: Final = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}


def sent_errors() -> Iterator[type[PenstockError]]:
    """Yield every class of ``penstock.errors`` that a client may receive, in the order of their definition."""
    for kind in _BY_NAME.values():
        if issubclass(kind, PenstockError) and not issubclass(kind, _NEVER_SENT):
            yield kind


def error_codes(status: int | None = None) -> list[str]:
    """Return the codes of all errors, or of those with one status, in the order of their definition."""
    kinds = (kind for kind in sent_errors() if status in (None, kind.status))
    return list(dict.fromkeys(kind.code for kind in kinds))


def response_name(status: int) -> str:
    """Return the name of the shared response: that of the first class with the status."""
    return next(kind.__name__ for kind in sent_errors() if kind.status == status).replace("PenstockError", "Failure")


def error_responses(statuses: Iterable[int]) -> dict[str, Any]:
    """Return the shared responses for these statuses, by name."""
    return {response_name(status): _response(status) for status in sorted(statuses)}


def other_errors() -> dict[str, Any]:
    """Return the response for the errors that handlers and plug-ins raise with any other status."""
    return {
        "description": "An error that the handler or a plug-in raises.",
        "headers": shared_headers("ShouldRetry"),
        "content": {PROBLEM: {"schema": {"$ref": f"#/components/schemas/{PROBLEM_NAME}"}}},
    }


def _response(status: int) -> dict[str, Any]:
    codes = ", ".join(f"`{code}`" for code in error_codes(status))
    names = ["ShouldRetry"]
    if status in _WITH_RETRY_AFTER:
        names.insert(0, "RetryAfter")
    if status == 401:
        names.insert(0, "Challenge")
    text = f"{HTTPStatus(status).phrase}: {codes}."
    return {**other_errors(), "description": text, "headers": shared_headers(*names)}


# ---- headers of responses


def shared_headers(*names: str) -> dict[str, Any]:
    """Return references to shared headers: those with these names in ``HEADERS``, and those of every response."""
    return {
        HEADERS[name][0]: {"$ref": f"#/components/headers/{name}"} for name in (*names, "RequestId", "ServerTiming")
    }


def _header(text: str, schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"description": text, "required": required, "schema": schema}


HEADERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "RequestId": (
        "X-Request-Id",
        _header("The request's id: the caller's own if it is well formed, otherwise a new one.", {"type": "string"}),
    ),
    "ServerTiming": (
        "Server-Timing",
        _header(
            "The times in the queue and in execution, in milliseconds: `queue;dur=0.31, exec;dur=12.80`.",
            {"type": "string"},
        ),
    ),
    "RetryAfter": (
        "Retry-After",
        _header("The whole seconds after which another request may succeed.", {"type": "integer", "minimum": 1}),
    ),
    "ShouldRetry": (
        "x-should-retry",
        _header("`true` if the same request may safely be sent again.", {"type": "string", "enum": ["true", "false"]}),
    ),
    "Challenge": ("WWW-Authenticate", _header("The way to authenticate, as in RFC 9110.", {"type": "string"})),
}
"""The headers that responses share: by the name of the component, the header's name and its description."""


# ---- the problem document


def problem_schema() -> dict[str, Any]:
    """Return the schema of a problem document, with the codes of all errors."""
    return {
        "title": PROBLEM_NAME,
        "description": "An error: a problem document (RFC 9457) with an `error` object for OpenAI-style clients. "
        "Branch on `error.code`; the wording of the texts may change.",
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance", "error"],
        "properties": {
            "type": {"description": "`urn:penstock:` and the code.", "type": "string", "format": "uri"},
            "title": {"description": "The kind of error, for people.", "type": "string"},
            "status": {"description": "The HTTP status.", "type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"description": "The error in a sentence: the thing, the cause and the fix.", "type": "string"},
            "instance": {"description": "The request's id.", "type": "string"},
            "error": _error_schema(),
            "errors": {
                "description": "The fields at fault, if the request does not fit the schema.",
                "type": "array",
                "items": _fault_schema(),
            },
            "traceback": {
                "description": "Where the handler failed; only with `--debug`.",
                "type": "string",
            },
        },
    }


def _error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["message", "type", "code", "param"],
        "properties": {
            "message": {"description": "The same text as `detail`.", "type": "string"},
            "type": {"description": "The kind of error, as OpenAI-style clients know it.", "type": "string"},
            "code": {
                "description": "The error's code. A handler may raise errors with codes of its own.",
                "anyOf": [{"enum": error_codes()}, {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"}],
            },
            "param": {"description": "The field or header at fault, if it is one.", "type": ["string", "null"]},
        },
    }


def _fault_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["path", "reason"],
        "properties": {
            "path": {"description": "The place in the body: `$.items[3].name`.", "type": "string"},
            "reason": {"type": "string"},
        },
    }
