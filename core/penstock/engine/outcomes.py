"""Outcomes: a worker's results, turned into the results and errors that callers receive."""

from __future__ import annotations

from penstock.errors import Cancelled, HandlerError, InvalidRequest, MalformedRequest, PenstockError
from penstock.response import Encoded
from penstock.scheduler.events import NOT_BEGUN
from penstock.wire import FAILED_CANCELLED, FAILED_INVALID, FAILED_RECALLED, Done, Failure

Result = Encoded | PenstockError | object  # the last is NOT_BEGUN


def results_of(done: Done) -> list[Result]:
    """Return the results of an attempt, one for each of its jobs."""
    return [result if type(result) is Encoded else _failed(result) for result in done.results]


def _failed(failure: Encoded | Failure) -> Result:
    assert isinstance(failure, Failure)
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
