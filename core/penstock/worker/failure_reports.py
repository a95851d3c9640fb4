"""From an exception to what is said about it: a text for the caller, a traceback of the user's frames for the log."""

from __future__ import annotations

import importlib
import math
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

from penstock.app import Endpoint
from penstock.codec.decoding import class_name
from penstock.errors import UNENCODABLE, Cancelled, HandlerError, InvalidRequest, Retryable
from penstock.wire import FAILED_CANCELLED, FAILED_HANDLER, FAILED_INVALID, Failure
from penstock.worker.interrupts import Interrupted

# An exception may quote a whole input; neither log lines nor frames should.
MAX_DETAIL_CHARACTERS = 8_192
MAX_TRACEBACK_CHARACTERS = 65_536

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_IMPORTLIB = f"{Path(importlib.__file__).parent}{os.sep}"
_MACHINERY = (_PACKAGE, _IMPORTLIB, "<frozen importlib")


def failure_of(error: BaseException, endpoint: Endpoint | None = None) -> Failure:
    """What to report for an exception that came out of user code, or out of decoding and encoding for it.

    It is said to be worth another try only if the endpoint is given, and its ``Retries`` say so.
    """
    if isinstance(error, InvalidRequest):
        return Failure(FAILED_INVALID, _clean(error.detail), errors=_plain(error.errors), status=error.status)
    kind = FAILED_CANCELLED if isinstance(error, (Interrupted, Cancelled)) else FAILED_HANDLER
    failure = Failure(kind, _detail(error), _type_name(error), user_traceback(error))
    if endpoint is not None and kind == FAILED_HANDLER:
        _consider_retry(failure, error, endpoint)
    return failure


def cancelled() -> Failure:
    """Acknowledge a cancel of what was not in user code, so that there is no traceback."""
    return Failure(FAILED_CANCELLED, "cancelled")


def _consider_retry(failure: Failure, error: BaseException, endpoint: Endpoint) -> None:
    # A group, such as trio's nurseries raise, may pass if all that is in it may.
    errors = list(_leaves(error))
    failure.may_retry = _may_pass(error, endpoint) or all(_may_pass(leaf, endpoint) for leaf in errors)
    if failure.may_retry:
        failure.retry_delay = max((d for d in map(_retry_delay, errors) if d is not None), default=None)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _may_pass(error: BaseException, endpoint: Endpoint) -> bool:
    if isinstance(error, Retryable):
        return True
    if isinstance(error, HandlerError) and error.exception_type == UNENCODABLE:
        return False  # the same input would give the same result
    return endpoint.idempotent and isinstance(error, endpoint.retries.on)


def _retry_delay(error: BaseException) -> float | None:
    """The delay that a ``Retryable`` has asked for; a subclass may have put anything there."""
    delay = error.retry_delay if isinstance(error, Retryable) else None
    return delay if isinstance(delay, (int, float)) and 0 <= delay < math.inf else None


def user_traceback(error: BaseException) -> str:
    """Format the traceback from the user's first frame to the user's last, of the exception and of its causes.

    The frames before led there; those behind are ours where an interrupt is raised, a result cannot be encoded, or user
    code calls Penstock. None of them tells the user anything.
    """
    report = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    link: traceback.TracebackException | None = report
    while link is not None:
        _keep_user_frames(link)
        link = link.__cause__ or link.__context__
    text = "".join(report.format())
    if len(text) > MAX_TRACEBACK_CHARACTERS:
        half = MAX_TRACEBACK_CHARACTERS // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return _encodable(text)


def _keep_user_frames(report: traceback.TracebackException) -> None:
    stack = report.stack
    while stack and stack[0].filename.startswith(_MACHINERY):
        del stack[0]
    while stack and stack[-1].filename.startswith(_PACKAGE):
        del stack[-1]
    # A cause that comes from our own code alone says nothing that the exception does not.
    for name in ("__cause__", "__context__"):
        inner = getattr(report, name)
        if inner is not None and all(frame.filename.startswith(_PACKAGE) for frame in inner.stack):
            setattr(report, name, None)


def _detail(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return "interrupted"
    try:
        return _clean(str(error))
    except Exception as second:  # str() of a user's exception is the user's code
        return f"{type(error).__name__}, whose str() raised {type(second).__name__}"


def _type_name(error: BaseException) -> str:
    if isinstance(error, HandlerError) and error.exception_type:
        return error.exception_type
    return class_name(type(error))


def _plain(errors: list[dict[str, str]]) -> list[dict[str, str]]:
    """Make them what the engine reads: user code may have put anything in."""
    return [{_clean(str(key)): _clean(str(value)) for key, value in error.items()} for error in errors]


def _clean(text: str) -> str:
    if len(text) > MAX_DETAIL_CHARACTERS:
        text = f"{text[:MAX_DETAIL_CHARACTERS]}... ({len(text)} characters)"
    return _encodable(text)


def _encodable(text: str) -> str:
    """Replace lone surrogates, which a file name in an exception may bring and UTF-8 cannot carry."""
    return text.encode("utf-8", "replace").decode("utf-8")
