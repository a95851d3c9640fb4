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
from penstock.errors import UNENCODABLE, Cancelled, HandlerError, InvalidRequest, Retryable
from penstock.wire import FAILED_CANCELLED, FAILED_HANDLER, FAILED_INVALID, Failure
from penstock.worker.interrupts import Interrupted

# An exception may quote a whole input, which must not end up in log lines and frames.
MAX_DETAIL_CHARACTERS = 8_192
MAX_TRACEBACK_CHARACTERS = 65_536

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_IMPORTLIB = f"{Path(importlib.__file__).parent}{os.sep}"
_MACHINERY = (_PACKAGE, _IMPORTLIB, "<frozen importlib")


def failure_of(error: BaseException, endpoint: Endpoint | None = None) -> Failure:
    """Return the failure to report for an exception from user code, or from decoding and encoding for it.

    It may be retried only if ``endpoint`` is passed and its retry rules allow that.
    """
    if isinstance(error, InvalidRequest):
        return Failure(FAILED_INVALID, _clean(error.detail), errors=_plain(error.errors), status=error.status)
    kind = FAILED_CANCELLED if isinstance(error, (Interrupted, Cancelled)) else FAILED_HANDLER
    failure = Failure(kind, _detail(error), _type_name(error), user_traceback(error))
    if endpoint is not None and kind == FAILED_HANDLER:
        _consider_retry(failure, error, endpoint)
    return failure


def cancelled() -> Failure:
    """Return the failure of an attempt that was stopped outside user code, which has no traceback."""
    return Failure(FAILED_CANCELLED, "cancelled")


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
    return _encodable(text)


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
        return _clean(str(error))
    except Exception as second:  # str() of a user's exception runs the user's code
        return f"{type(error).__name__}, whose str() raised {type(second).__name__}"


def _type_name(error: BaseException) -> str:
    if isinstance(error, HandlerError) and error.exception_type:
        return error.exception_type
    return class_name(type(error))


def _plain(errors: list[dict[str, str]]) -> list[dict[str, str]]:
    """Convert the errors to the types that the engine decodes: user code may have put anything in."""
    return [{_clean(str(key)): _clean(str(value)) for key, value in error.items()} for error in errors]


def _clean(text: str) -> str:
    if len(text) > MAX_DETAIL_CHARACTERS:
        text = f"{text[:MAX_DETAIL_CHARACTERS]}... ({len(text)} characters)"
    return _encodable(text)


def _encodable(text: str) -> str:
    """Replace lone surrogates, which a file name may contain and UTF-8 cannot represent."""
    return text.encode("utf-8", "replace").decode("utf-8")
