"""Outcomes: a worker's results, turned into the results and errors that callers receive."""

from __future__ import annotations

from penstock.codec.encoding import require_sane
from penstock.errors import Cancelled, HandlerError, PenstockError
from penstock.raised_errors import rebuild
from penstock.response import Encoded
from penstock.scheduler.events import NOT_BEGUN
from penstock.wire import FAILED_ANSWERED, FAILED_CANCELLED, FAILED_RECALLED, Done, Failure

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
    try:
        require_sane({**(result.headers or {}), "Content-Type": result.media_type or ""})
    except HandlerError as error:
        raise ProtocolError(f"it has sent a result of which {error.detail}") from None
    return result


def _failed(failure: Failure) -> Result:
    if failure.kind == FAILED_RECALLED:
        return NOT_BEGUN
    if failure.kind == FAILED_CANCELLED:
        return Cancelled("the attempt was interrupted")
    if failure.kind == FAILED_ANSWERED:
        try:
            return rebuild(failure.error, failure.fields)
        except ValueError as error:
            return HandlerError(f"the worker reported an error that cannot be sent: {error}")
    return HandlerError(
        failure.detail,
        exception_type=failure.exception_type,
        traceback=failure.traceback,
        may_retry=failure.may_retry,
        retry_delay=failure.retry_delay,
    )
