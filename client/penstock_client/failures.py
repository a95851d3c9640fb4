"""The error for an error response or a fault."""

from __future__ import annotations

import email.utils
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from penstock_client import errors
from penstock_client.error_bodies import error_body_of
from penstock_client.errors import ClientError, ResponseError, StreamFailed, TruncatedStream
from penstock_client.retry_table import Fault

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
    said = error_body_of(_value_in(body))
    kind = _OF_CODES.get(said.code, _OF_STATUSES.get(status, ResponseError))
    if kind is errors.InvalidRequest and status == 400:
        kind = errors.MalformedRequest
    detail = said.message or said.title
    error = kind(f"{status}: {detail[:_LONGEST_DETAIL]}" if detail else f"{status}: {kind.title}")
    error.status = status
    error.server_code = said.code
    error.server_type = said.type
    error.server_message = said.message
    error.param = said.param or None
    error.errors = said.faults
    error.headers = headers
    error.retry_after = seconds_to_wait(headers)
    return error


def failed_stream(value: Any) -> StreamFailed:
    """Return the error of a stream that has ended with this value."""
    said = error_body_of(value)
    message = said.message or said.code or said.type
    error = StreamFailed(f"{StreamFailed.title}: {message[:_LONGEST_DETAIL]}" if message else "")
    error.server_code = said.code
    error.server_type = said.type
    error.may_have_run = True
    return error


def cut(detail: str) -> TruncatedStream:
    """Return the error of a stream that has no end."""
    error = TruncatedStream(f"{TruncatedStream.title}: {detail}" if detail else "")
    error.may_have_run = True
    return error


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return ``Retry-After`` in seconds, or None. A date is read beside the response's own ``Date``.

    OpenAI and Azure send ``retry-after-ms`` beside it, which is more exact.
    """
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        seconds = _seconds_in(headers.get(name, "").strip(), headers.get("date", ""))
        if seconds is not None and seconds < float("inf"):  # NaN is below nothing
            return max(0.0, seconds / unit)
    return None


def _seconds_in(text: str, date: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        then, since = (email.utils.parsedate_to_datetime(instant) for instant in (text, date))
        return (then - since).total_seconds()
    except (TypeError, ValueError):
        return None


def code_in(value: Any) -> str:
    """Return the code in the last line of a failed stream; "" if the value is not such a line."""
    is_alone = isinstance(value, dict) and len(value) == 1 and isinstance(value.get("error"), dict)
    return (error_body_of(value).code or "error") if is_alone else ""


def _value_in(body: bytes) -> Any:
    """Return the value of a body that is JSON, and otherwise its text; "" for a page of HTML."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode(errors="replace").strip()
        return "" if text.startswith("<") or "\ufffd" in text else text
