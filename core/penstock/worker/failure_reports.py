"""Reports of exceptions: a text for the caller, and for the log a traceback of the user's frames alone."""

from __future__ import annotations

import importlib
import math
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

from penstock.app import Endpoint
from penstock.codec.decoding import class_name
from penstock.errors import UNENCODABLE, Cancelled, HandlerError, PenstockError, Retryable
from penstock.raised_errors import clean, encodable, fields_of, is_answer
from penstock.wire import FAILED_ANSWERED, FAILED_CANCELLED, FAILED_HANDLER, Failure
from penstock.worker.interrupts import Interrupted

MAX_TRACEBACK_CHARACTERS = 65_536

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_IMPORTLIB = f"{Path(importlib.__file__).parent}{os.sep}"
_MACHINERY = (_PACKAGE, _IMPORTLIB, "<frozen importlib")


def failure_of(error: BaseException, endpoint: Endpoint | None = None) -> Failure:
    """Return the failure to report for an exception from user code, or from decoding and encoding for it.

    It may be retried only if ``endpoint`` is passed and its retry rules allow that.
    """
    if isinstance(error, PenstockError) and is_answer(error) and not _is_asked_again(error, endpoint):
        name, fields = fields_of(error)
        return Failure(FAILED_ANSWERED, error=name, fields=fields)
    kind = FAILED_CANCELLED if isinstance(error, (Interrupted, Cancelled)) else FAILED_HANDLER
    failure = Failure(kind, _detail(error), _type_name(error), user_traceback(error))
    if endpoint is not None and kind == FAILED_HANDLER:
        _consider_retry(failure, error, endpoint)
    return failure


def cancelled() -> Failure:
    """Return the failure of an attempt that was stopped outside user code, which has no traceback."""
    return Failure(FAILED_CANCELLED, "cancelled")


def _is_asked_again(error: PenstockError, endpoint: Endpoint | None) -> bool:
    """Return whether the endpoint's retry rules name this error. A fault of the caller is never retried."""
    return error.status >= 500 and endpoint is not None and _is_retryable(error, endpoint)


def _consider_retry(failure: Failure, error: BaseException, endpoint: Endpoint) -> None:
    # A group, such as trio's nurseries raise, may be retried if all of its members may.
    errors = list(_leaves(error))
    failure.may_retry = _is_retryable(error, endpoint) or all(_is_retryable(leaf, endpoint) for leaf in errors)
    if failure.may_retry:
        failure.retry_delay = max((d for d in map(_retry_delay, errors) if d is not None), default=None)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _is_retryable(error: BaseException, endpoint: Endpoint) -> bool:
    if isinstance(error, Retryable):
        return True
    if isinstance(error, HandlerError) and error.exception_type == UNENCODABLE:
        return False  # the same input would produce the same result
    return endpoint.idempotent and isinstance(error, endpoint.retries.on)


def _retry_delay(error: BaseException) -> float | None:
    """Return the delay that a ``Retryable`` asks for, if it is valid: a subclass may have set it to anything."""
    delay = error.retry_delay if isinstance(error, Retryable) else None
    return delay if isinstance(delay, (int, float)) and 0 <= delay < math.inf else None


def user_traceback(error: BaseException) -> str:
    """Format the tracebacks of an exception and its causes, from the user's first frame to the user's last.

    The frames before the first belong to the machinery that called the user's code. Those after the last belong to
    Penstock: it raised an interrupt, failed to encode a result, or was called by user code. Neither help the user.
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
    return encodable(text)


def _keep_user_frames(report: traceback.TracebackException) -> None:
    stack = report.stack
    while stack and stack[0].filename.startswith(_MACHINERY):
        del stack[0]
    while stack and stack[-1].filename.startswith(_PACKAGE):
        del stack[-1]
    # A cause raised entirely inside Penstock adds nothing to the exception itself.
    for name in ("__cause__", "__context__"):
        inner = getattr(report, name)
        if inner is not None and all(frame.filename.startswith(_PACKAGE) for frame in inner.stack):
            setattr(report, name, None)


def _detail(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return "interrupted"
    try:
        return clean(str(error))
    except Exception as second:  # str() of a user's exception runs the user's code
        return f"{type(error).__name__}, whose str() raised {type(second).__name__}"


def _type_name(error: BaseException) -> str:
    if isinstance(error, HandlerError) and error.exception_type:
        return error.exception_type
    return class_name(type(error))
