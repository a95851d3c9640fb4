"""The error for an error response or a fault."""

from __future__ import annotations

import email.utils
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from penstock_client import errors
from penstock_client.errors import ClientError, ResponseError
from penstock_client.retry_table import Fault

_URN: Final = "urn:penstock:"
_LONGEST_DETAIL: Final = 500

_OF_FAULTS: Final[dict[Fault, type[ClientError]]] = {
    Fault.CONNECT: errors.ConnectionFailed,
    Fault.CONNECT_TIMEOUT: errors.ConnectTimeout,
    Fault.POOL_TIMEOUT: errors.PoolTimeout,
    Fault.WRITE_TIMEOUT: errors.WriteTimeout,
    Fault.UNSENT: errors.ConnectionLost,
    Fault.LOST: errors.ConnectionLost,
    Fault.CUT: errors.ConnectionLost,
    Fault.FIRST_BYTE_TIMEOUT: errors.FirstByteTimeout,
    Fault.IDLE_TIMEOUT: errors.IdleTimeout,
    Fault.EVENT_TIMEOUT: errors.EventTimeout,
    Fault.TOTAL_TIMEOUT: errors.TotalTimeout,
}

_OF_STATUSES: Final[dict[int, type[ResponseError]]] = {
    400: errors.MalformedRequest,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    408: errors.RequestTimeout,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMediaType,
    422: errors.InvalidRequest,
    429: errors.RateLimited,
    499: errors.Cancelled,
    500: errors.InternalError,
    503: errors.Unavailable,
    504: errors.DeadlineExceeded,
}


def _subclasses(base: type[ResponseError]) -> Iterator[type[ResponseError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _subclasses(kind)


# Some codes have a class for each of their statuses: 400 and 422 are both `invalid-request`.
_OF_CODES: Final[dict[str, type[ResponseError]]] = {
    kind.code: kind for kind in _subclasses(ResponseError) if kind is not errors.MalformedRequest
}


def error_of_fault(fault: Fault, detail: str) -> ClientError:
    """Return the error of a request without a response."""
    kind = _OF_FAULTS[fault]
    return kind(f"{kind.title}: {detail}" if detail else "")


def error_of_response(status: int, headers: Mapping[str, str], body: bytes) -> ResponseError:
    """Return the error of a response, whatever the shape of its body."""
    problem = _object_in(body)
    nested = problem.get("error")
    inner = nested if isinstance(nested, dict) else {}
    code = _code_of(problem, inner)
    kind = _OF_CODES.get(code, _OF_STATUSES.get(status, ResponseError))
    if kind is errors.InvalidRequest and status == 400:
        kind = errors.MalformedRequest
    detail = _text(problem.get("detail")) or _text(inner.get("message")) or _text(nested) or _text(problem.get("title"))
    error = kind(f"{status}: {detail[:_LONGEST_DETAIL]}" if detail else f"{status}: {kind.title}")
    error.status = status
    error.server_code = code
    error.param = _text(inner.get("param")) or None
    faults = problem.get("errors")
    error.errors = tuple(fault for fault in faults if isinstance(fault, dict)) if isinstance(faults, list) else ()
    error.headers = headers
    error.retry_after = seconds_to_wait(headers)
    return error


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return ``Retry-After`` in seconds, or None. A date is read beside the response's own ``Date``."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            then, since = (email.utils.parsedate_to_datetime(date) for date in (text, headers.get("date", "")))
            seconds = (then - since).total_seconds()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None  # NaN is below nothing


def code_in(value: Any) -> str:
    """Return the code in the last line of a failed stream; "" if the value is not such a line."""
    inner = value.get("error") if isinstance(value, dict) and len(value) == 1 else None
    return _code_of({}, inner) or "error" if isinstance(inner, dict) else ""


def message_in(value: Any) -> str:
    """Return the message in the last line of a failed stream."""
    return _text(value["error"].get("message")) or _text(value["error"].get("detail"))


def _object_in(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _code_of(problem: dict[str, Any], inner: dict[str, Any]) -> str:
    name = _text(problem.get("type"))
    if name.startswith(_URN):
        return name.removeprefix(_URN)
    return _text(inner.get("code")) or _text(inner.get("type"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
