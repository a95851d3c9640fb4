"""Outcomes: a worker's results, turned into the results and errors that callers receive."""

from __future__ import annotations

from typing import Any

from penstock.errors import Cancelled, HandlerError, PenstockError
from penstock.raised_errors import rebuild_answer
from penstock.response import Encoded
from penstock.scheduler.events import NOT_BEGUN
from penstock.wire import FAILED_ANSWERED, FAILED_CANCELLED, FAILED_RECALLED, Done, Failure

Result = Encoded | PenstockError | object  # the last is NOT_BEGUN


def results_of(done: Done) -> list[Result]:
    """Return the results of an attempt, one for each of its jobs."""
    results: list[Any] = done.results
    for result in results:
        if type(result) is not Encoded:
            return [result if type(result) is Encoded else _failed(result) for result in results]
    return results


def _failed(failure: Encoded | Failure) -> Result:
    assert isinstance(failure, Failure)
    if failure.kind == FAILED_RECALLED:
        return NOT_BEGUN
    if failure.kind == FAILED_CANCELLED:
        return Cancelled("the attempt was interrupted")
    if failure.kind == FAILED_ANSWERED:
        try:
            return rebuild_answer(failure.error, failure.fields)
        except ValueError as error:
            return HandlerError(f"the worker reported an error that cannot be sent: {error}")
    return HandlerError(
        failure.detail,
        exception_type=failure.exception_type,
        traceback=failure.traceback,
        may_retry=failure.may_retry,
        retry_delay=failure.retry_delay,
    )
