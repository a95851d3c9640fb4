"""The errors that Penstock raises or sends as a response, and what each one means to the caller.

The tree, with status and code; ``*`` marks errors after which the same request may safely be sent again, because
nothing was started or the work has no side effects::

    PenstockError                      500 internal-error
    ├── DeclarationError               -             a mistake in the app's declarations; raised at import
    │   └── PluginError                -             a mistake in a plug-in or its settings; raised at start-up
    ├── EngineError                    -             the engine was used wrongly, or could not start its pools
    ├── InvalidRequest                 422 invalid-request        does not fit the schema
    │   └── MalformedRequest           400 invalid-request        is not even JSON
    ├── Unauthorized                   401 unauthorized
    ├── Forbidden                      403 forbidden
    ├── NotFound                       404 not-found
    ├── MethodNotAllowed               405 method-not-allowed
    ├── RequestTimeout                 408 request-timeout *      did not arrive in time
    ├── PayloadTooLarge                413 payload-too-large
    ├── UnsupportedMediaType           415 unsupported-media-type
    ├── RateLimited                    429 rate-limited *
    ├── HandlerError                   500 handler-error          the user's code raised
    │   └── Retryable                  500 handler-error          raised by user code that asks for another attempt
    ├── HookError                      500 hook-error             a plug-in raised
    ├── Cancelled                      499 cancelled              the caller left, or cancelled
    ├── Unavailable                    503                        the base of "not now"
    │   ├── QueueFull                  503 queue-full *
    │   ├── QueueTimeout               503 queue-timeout *
    │   ├── DeadlineInfeasible         503 deadline-infeasible *
    │   ├── CircuitOpen                503 circuit-open *
    │   ├── Draining                   503 draining *
    │   ├── NotReady                   503 not-ready *
    │   └── WorkerLost                 503 worker-lost            ``*`` only if the endpoint is idempotent
    └── DeadlineExceeded               504                        the base of "it ran, and was stopped"
        ├── ExecutionTimeout           504 execution-timeout      also for first_chunk and idle
        └── TotalTimeout               504 total-timeout

Catch ``Unavailable`` to try another server, ``DeadlineExceeded`` if time ran out, and ``PenstockError`` for all.
"""

from __future__ import annotations

import math
from typing import ClassVar


class PenstockError(Exception):
    """The root of the tree.

    Parameters
    ----------
    detail:
        One sentence for a person: the thing, the cause and, if there is one, the fix.
    retryable:
        True if the same request may safely be sent again. Default: set by the class.
    retry_after:
        The number of seconds after which another request may succeed, or None.
    param:
        The name of the request field at fault, or None.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    default_retryable: ClassVar[bool] = False

    # The annotated attributes of each class are its fields: they survive the way from a worker to the caller.
    detail: str
    retryable: bool
    retry_after: float | None
    param: str | None

    def __init__(
        self,
        detail: str = "",
        *,
        retryable: bool | None = None,
        retry_after: float | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.param = param

    @property
    def headers(self) -> dict[str, str]:
        """Response headers that belong to this error, for instance ``Allow``."""
        return {}


class DeclarationError(PenstockError):
    """A mistake in the declaration of an endpoint, a policy or an app. Raised at import, never at run time."""

    code = "declaration-error"
    title = "Invalid declaration"


class PluginError(DeclarationError):
    """A plug-in cannot be imported, does not fit its hooks, or has invalid settings."""

    code = "plugin-error"
    title = "Invalid plug-in"


class EngineError(PenstockError):
    """The engine was used incorrectly (not started, already closed), or a pool failed to start."""

    code = "engine-error"
    title = "Engine error"


class InvalidRequest(PenstockError):
    """The body is well formed but does not fit the endpoint's schema.

    ``errors`` is a list of ``{"path": "$.field", "reason": "..."}``.
    """

    status = 422
    code = "invalid-request"
    title = "The request does not fit the schema"

    errors: list[dict[str, str]]

    def __init__(
        self, detail: str = "", *, errors: list[dict[str, str]] | None = None, param: str | None = None
    ) -> None:
        super().__init__(detail, param=param)
        self.errors = errors if errors is not None else [{"path": "$", "reason": self.detail}]


class MalformedRequest(InvalidRequest):
    """The body cannot be decoded at all: not JSON, not UTF-8, or truncated."""

    status: ClassVar[int] = 400
    title = "The request cannot be read"


class Unauthorized(PenstockError):
    """The credentials are missing or wrong. ``challenge`` is the ``WWW-Authenticate`` header."""

    status = 401
    code = "unauthorized"
    title = "Unauthorized"

    challenge: str

    def __init__(self, detail: str = "", *, challenge: str = "Bearer") -> None:
        super().__init__(detail)
        self.challenge = challenge

    @property
    def headers(self) -> dict[str, str]:
        """The challenge, which RFC 9110 requires in every 401."""
        return {"WWW-Authenticate": self.challenge}


class Forbidden(PenstockError):
    """The caller is known, but not allowed to do this. ``challenge`` is the ``WWW-Authenticate`` header, or ""."""

    status = 403
    code = "forbidden"
    title = "Forbidden"

    challenge: str

    def __init__(self, detail: str = "", *, challenge: str = "") -> None:
        super().__init__(detail)
        self.challenge = challenge

    @property
    def headers(self) -> dict[str, str]:
        """The challenge, which names the missing scope (RFC 6750)."""
        return {"WWW-Authenticate": self.challenge} if self.challenge else {}


class NotFound(PenstockError):
    """The path or the endpoint does not exist."""

    status = 404
    code = "not-found"
    title = "Not found"


class MethodNotAllowed(PenstockError):
    """The path exists, but does not accept this method. ``allowed`` lists the methods that it accepts."""

    status = 405
    code = "method-not-allowed"
    title = "Method not allowed"

    allowed: tuple[str, ...]

    def __init__(self, detail: str = "", *, allowed: tuple[str, ...] = ("POST",)) -> None:
        super().__init__(detail)
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """``Allow``, which RFC 9110 requires in every 405."""
        return {"Allow": ", ".join(self.allowed)}


class RequestTimeout(PenstockError):
    """The request did not arrive in time, so nothing was started. The connection is closed."""

    status = 408
    code = "request-timeout"
    title = "The request took too long to arrive"
    default_retryable = True

    @property
    def headers(self) -> dict[str, str]:
        """``Connection: close``: the rest of the request may still come, and is not wanted."""
        return {"Connection": "close"}


class PayloadTooLarge(PenstockError):
    """The body is larger than the server accepts. Raised at the header, if it announces the size."""

    status = 413
    code = "payload-too-large"
    title = "Payload too large"


class UnsupportedMediaType(PenstockError):
    """The endpoint does not accept the body's content type, or the way in which it is compressed.

    ``codings`` lists the content codings that would be accepted, if that is the reason.
    """

    status = 415
    code = "unsupported-media-type"
    title = "Unsupported media type"

    codings: tuple[str, ...]

    def __init__(self, detail: str = "", *, codings: tuple[str, ...] = (), param: str | None = None) -> None:
        super().__init__(detail, param=param)
        self.codings = codings

    @property
    def headers(self) -> dict[str, str]:
        """``Accept-Encoding``, as RFC 9110 (section 12.5.3) asks for."""
        return {"Accept-Encoding": ", ".join(self.codings)} if self.codings else {}


class RateLimited(PenstockError):
    """The caller sends too many requests."""

    status = 429
    code = "rate-limited"
    title = "Too many requests"
    default_retryable = True


UNENCODABLE = "UnencodableResult"
"""The ``exception_type`` of a result that cannot be sent. Its detail names types, not data, so callers may see it."""


class HandlerError(PenstockError):
    """The user's code raised an exception, or returned a value that cannot be sent.

    ``exception_type`` and ``traceback`` are for logs and for ``--debug``; otherwise a remote caller never sees them.
    ``may_retry`` is true if the endpoint's ``Retries`` list this failure as one that may pass, or if it was
    ``Retryable``; ``retry_delay`` is the delay that it asked for.
    """

    code = "handler-error"
    title = "The handler failed"

    # Defaults for users' subclasses that do not call this __init__.
    exception_type: str = ""
    traceback: str = ""
    may_retry: bool = False
    retry_delay: float | None = None

    def __init__(
        self,
        detail: str = "",
        *,
        exception_type: str = "",
        traceback: str = "",
        may_retry: bool = False,
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.exception_type = exception_type
        self.traceback = traceback
        if traceback:  # shown below the error's own, in a program that calls the engine
            self.add_note(f"The handler raised {exception_type or 'an exception'} in its worker:\n{traceback.rstrip()}")
        self.may_retry = may_retry
        self.retry_delay = retry_delay


class Retryable(HandlerError):
    """Raised by a handler to ask for another attempt, because something it needs may be available soon.

    By raising it, the code declares that it may run again, even if the endpoint is not idempotent. The endpoint's
    ``Retries`` decide whether it does; if not, the caller receives the same response as for any other exception.

    Parameters
    ----------
    detail:
        The cause, for the log.
    delay:
        Seconds until the next attempt. Default: set by ``Retries.backoff``.

    Raises
    ------
    ValueError
        If ``delay`` is negative, infinite, or NaN.
    """

    title = "The handler asks for another attempt"

    def __init__(self, detail: str = "", *, delay: float | None = None) -> None:
        if delay is not None and not 0 <= delay < math.inf:
            raise ValueError(f"Retryable(delay={delay!r}): give seconds, 0 or more")
        super().__init__(detail, may_retry=True, retry_delay=delay)


class HookError(PenstockError):
    """A plug-in's decision hook raised an exception. Only this job fails.

    ``reason`` is that exception in one line. It is for the log; a remote caller never sees it.
    """

    code = "hook-error"
    title = "A hook failed"

    reason: str = ""


class Cancelled(PenstockError):
    """The caller left or cancelled. Usually there is no client left to read it."""

    status = 499
    code = "cancelled"
    title = "Cancelled"


class Unavailable(PenstockError):
    """The base of errors that mean "not now". Over HTTP they all carry ``Retry-After``.

    ``execution_seconds`` is the time that an attempt is expected to take, or None: a caller with less time left after
    ``retry_after`` is advised not to retry. The queue sets it if it knows.
    """

    status = 503
    code = "unavailable"
    title = "Unavailable"
    default_retryable = True

    execution_seconds: float | None

    def __init__(
        self,
        detail: str = "",
        *,
        retryable: bool | None = None,
        retry_after: float | None = None,
        param: str | None = None,
        execution_seconds: float | None = None,
    ) -> None:
        super().__init__(detail, retryable=retryable, retry_after=retry_after, param=param)
        self.execution_seconds = execution_seconds


class QueueFull(Unavailable):
    """The queue has reached its limit of jobs or bytes. Raised before the body is read."""

    code = "queue-full"
    title = "The queue is full"


class QueueTimeout(Unavailable):
    """The job waited for its whole queue timeout. It was never started."""

    code = "queue-timeout"
    title = "Timed out in the queue"


class DeadlineInfeasible(Unavailable):
    """The deadline cannot be met at the current load, as far as known, so nothing was started."""

    code = "deadline-infeasible"
    title = "The deadline cannot be met"


class CircuitOpen(Unavailable):
    """The endpoint has failed so often that it accepts no jobs for a while."""

    code = "circuit-open"
    title = "The circuit is open"


class Draining(Unavailable):
    """The server is shutting down and accepts no new jobs."""

    code = "draining"
    title = "Draining"


class NotReady(Unavailable):
    """The pool has no ready worker, and will not have one soon."""

    code = "not-ready"
    title = "Not ready"


class WorkerLost(Unavailable):
    """The worker died while the job ran, and the job has no attempts left."""

    code = "worker-lost"
    title = "The worker was lost"
    default_retryable = False


class DeadlineExceeded(PenstockError):
    """The base of errors of jobs that ran, and were stopped at a deadline."""

    status = 504
    code = "deadline-exceeded"
    title = "Deadline exceeded"


class ExecutionTimeout(DeadlineExceeded):
    """One attempt exceeded its time limit: in total, until its first chunk, or between two chunks."""

    code = "execution-timeout"
    title = "Execution timed out"


class TotalTimeout(DeadlineExceeded):
    """The time limit from arrival to the last byte was reached, after the job had started."""

    code = "total-timeout"
    title = "Total timeout"
