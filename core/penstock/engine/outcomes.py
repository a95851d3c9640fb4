"""Outcomes: a worker's results, turned into the results and errors that callers receive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.body_files import BodyFile
from penstock.errors import Cancelled, HandlerError, PenstockError
from penstock.raised_errors import rebuild_answer
from penstock.response import Encoded
from penstock.scheduler.events import NOT_BEGUN
from penstock.wire import FAILED_ANSWERED, FAILED_CANCELLED, FAILED_HANDLER, FAILED_RECALLED, Done, Failure

Result = Encoded | PenstockError | object  # the last is NOT_BEGUN


def results_of(done: Done) -> list[Result]:
    """Return the results of an attempt, one for each of its jobs."""
    results: list[Any] = done.results
    for result in results:
        if type(result) is not Encoded:
            return [result if type(result) is Encoded else _failed(result) for result in results]
    return results


def put_into_files(done: Done, files: Sequence[BodyFile | None]) -> None:
    """Give each result of an attempt its file, if its body is in one."""
    for place, (result, file) in enumerate(zip(done.results, files, strict=True)):
        if file is not None and isinstance(result, Encoded):
            done.results[place] = _with_body(result, file) if file else _NOT_RECEIVED


_NOT_RECEIVED = Failure(FAILED_HANDLER, "the server had no file descriptor left to receive the result", may_retry=True)


def read_from_files(done: Done, takes_files: Sequence[bool]) -> None:
    """Read the bodies that are in files for those callers who can do nothing with a file.

    Such a body is copied in the engine's thread.
    """
    for place, (result, takes_file) in enumerate(zip(done.results, takes_files, strict=False)):
        file = None if takes_file else file_of(result)
        if file is None:
            continue
        try:
            done.results[place] = _with_body(result, file.read_all())
        except OSError as error:  # shortened since, where there are no seals
            done.results[place] = Failure(FAILED_HANDLER, f"the result cannot be read: {error}")


def file_of(result: object) -> BodyFile | None:
    """Return the file with the body of a result, or None if it has none, or none in a file."""
    body = getattr(result, "body", None)
    return body if isinstance(body, BodyFile) else None


def _with_body(result: Any, body: Any) -> Encoded:
    return Encoded(body, result.media_type, result.status, result.headers)


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
