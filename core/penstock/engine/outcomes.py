"""Outcomes: a worker's results, turned into the results and errors that callers receive."""

from __future__ import annotations

from penstock.errors import Cancelled, HandlerError, InvalidRequest, MalformedRequest, PenstockError
from penstock.response import Encoded, header_mistake
from penstock.scheduler.events import NOT_BEGUN
from penstock.wire import FAILED_CANCELLED, FAILED_INVALID, FAILED_RECALLED, Done, Failure

_FIRST_STATUS, _LAST_STATUS = 200, 599

Result = Encoded | PenstockError | object  # the last is NOT_BEGUN


class ProtocolError(Exception):
    """A worker has sent a message that cannot be true."""


def results_of(done: Done) -> list[Result]:
    """Return the results of an attempt, one for each of its jobs.

    Raises
    ------
    ProtocolError
        If a result cannot be sent as an HTTP response. A worker checks that before it sends one.
    """
    return [
        # JSON, as nearly all results are, needs no further check.
        result
        if type(result) is Encoded and result.media_type is None and result.headers is None and result.status == 200
        else _unusual(result)
        for result in done.results
    ]


def _unusual(result: Encoded | Failure) -> Result:
    if isinstance(result, Failure):
        return _failed(result)
    if not _FIRST_STATUS <= result.status <= _LAST_STATUS:
        raise ProtocolError(f"it has sent a result with the status {result.status}")
    for name, value in {**(result.headers or {}), "Content-Type": result.media_type or ""}.items():
        mistake = header_mistake(name, value)
        if mistake:
            raise ProtocolError(f"it has sent a result that no handler can return: {mistake}")
    return result


def _failed(failure: Failure) -> Result:
    if failure.kind == FAILED_RECALLED:
        return NOT_BEGUN
    if failure.kind == FAILED_CANCELLED:
        return Cancelled("the attempt was interrupted")
    if failure.kind == FAILED_INVALID:
        kind = MalformedRequest if failure.status == MalformedRequest.status else InvalidRequest
        return kind(failure.detail, errors=failure.errors, param=_field_of(failure.errors))
    return HandlerError(
        failure.detail,
        exception_type=failure.exception_type,
        traceback=failure.traceback,
        may_retry=failure.may_retry,
        retry_delay=failure.retry_delay,
    )


def _field_of(errors: list[dict[str, str]]) -> str | None:
    """Return the top-level field of the first error's path (``$.name...``), or None."""
    path = errors[0].get("path", "") if errors else ""
    if not path.startswith("$."):
        return None
    return path[2:].split(".")[0].split("[")[0] or None
