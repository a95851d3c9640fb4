"""Errors as clients see them, with the headers that say whether and when to retry."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import falcon

from penstock.errors import (
    Forbidden,
    HookError,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PenstockError,
    RateLimited,
    RequestTimeout,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from penstock.hooks import PublicError, RouteResponse, Trace, log_event
from penstock.hosting import problem_document, public_error, retry_after, should_retry
from penstock_falcon.responses import NO_JOB_TIMING, HttpResponse, common_headers

_BY_STATUS: dict[int, type[PenstockError]] = {
    400: MalformedRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: RequestTimeout,
    413: PayloadTooLarge,
    415: UnsupportedMediaType,
    422: InvalidRequest,
    429: RateLimited,
    503: Unavailable,
}
_FRAMEWORK_HEADERS_DROPPED = frozenset({"content-type", "retry-after"})

ErrorWriter: TypeAlias = Callable[[PublicError], RouteResponse]
"""Returns the response for what a client may see of an error."""


def guarded_writer(write_error: ErrorWriter, owner: str) -> ErrorWriter:
    """Return a way to write errors that falls back to the native one for those that ``owner`` cannot write."""

    def write(error: PublicError) -> RouteResponse:
        try:
            return write_error(error)
        except HookError:  # it is logged, and counted
            return problem_document(error)
        except Exception as failure:
            log_event(
                logging.ERROR,
                "dialect-failed",
                f"{owner} could not write the error {error.code}: {failure!r}",
                request_id=error.request_id,
                traceback="".join(traceback.format_exception(failure)),
            )
            return problem_document(error)

    return write


def problem(
    error: PenstockError,
    request_id: str,
    *,
    debug: bool,
    timing: str = NO_JOB_TIMING,
    left: float | None = None,
    write_error: ErrorWriter = problem_document,
) -> HttpResponse:
    """Return the response for an error.

    ``left`` is how many seconds the caller still waits, retries of its own included; None if that is not known.
    ``write_error`` writes what the client may see of it.
    """
    answer = write_error(public_error(error, request_id, debug=debug))
    headers = common_headers(request_id, answer.media_type, timing)
    wait = 0
    if error.status in (429, 503):
        wait = retry_after(error.retry_after)
        headers.append(("retry-after", str(wait)))
    headers.append(("x-should-retry", "true" if should_retry(error, wait, left) else "false"))
    headers.extend((name.lower(), value) for name, value in error.headers.items())
    headers.extend((name.lower(), value) for name, value in answer.headers.items())
    return HttpResponse(answer.status, headers, answer.body, code=error.code)


def framework_problem(error: falcon.HTTPError, request_id: str) -> HttpResponse:
    """Return the response for an error raised by Falcon, or by a route of the user's own."""
    status = error.status_code
    detail = error.description or error.title or ""
    own = _BY_STATUS.get(status)
    if status == 405:
        allowed = dict(error.headers or {}).get("Allow", "")
        response = problem(MethodNotAllowed(detail, allowed=tuple(allowed.split(", "))), request_id, debug=False)
    elif own is not None:
        response = problem(own(detail), request_id, debug=False)
    else:
        response = _other_problem(error, detail, request_id)
    present = {name for name, _ in response.headers} | _FRAMEWORK_HEADERS_DROPPED
    extra = ((name.lower(), value) for name, value in dict(error.headers or {}).items())
    response.headers.extend((name, value) for name, value in extra if name not in present)
    return response


def _other_problem(error: falcon.HTTPError, detail: str, request_id: str) -> HttpResponse:
    """Return the response for a status that no Penstock error has, such as a 418 raised by a user's route."""
    return problem(_kind_of_problem(error.status_code, error.title or error.status)(detail), request_id, debug=False)


@lru_cache(maxsize=64)  # a class holds itself in its order of resolution, so only the collector can free it
def _kind_of_problem(status: int, title: str) -> type[PenstockError]:
    code = "internal-error" if status == 500 else "http-error"
    return type("HTTPProblem", (PenstockError,), {"status": status, "code": code, "title": title})


def internal_problem(
    error: Exception, request_id: str, write_error: ErrorWriter = problem_document, trace: Trace | None = None
) -> HttpResponse:
    """Return the response for an unexpected exception. It is logged in full; the client learns nothing about it."""
    log_event(
        logging.ERROR,
        "internal-error",
        f"request {request_id} failed inside the server: {type(error).__name__}: {error}",
        request_id=request_id,
        **({} if trace is None else trace.log_fields()),
        traceback="".join(traceback.format_exception(error)),
    )
    public = PenstockError("The server failed. Its log has the reason, under this request id.")
    return problem(public, request_id, debug=False, write_error=write_error)
