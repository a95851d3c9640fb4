"""Every error that Penstock raises or answers with, and what each one means to the caller.

The tree (status, code; ``*`` = safe to send again, because nothing was started or the work has no side effects)::

    PenstockError                      500 internal-error
    ├── DeclarationError               -             the app is declared wrongly; raised at import
    │   └── PluginError                -             a plug-in or its settings do not fit; raised at start-up
    ├── EngineError                    -             the engine was used wrongly, or could not start its pools
    ├── InvalidRequest                 422 invalid-request        does not fit the schema
    │   └── MalformedRequest           400 invalid-request        is not even JSON
    ├── Unauthorized                   401 unauthorized
    ├── Forbidden                      403 forbidden
    ├── NotFound                       404 not-found
    ├── MethodNotAllowed               405 method-not-allowed
    ├── PayloadTooLarge                413 payload-too-large
    ├── UnsupportedMediaType           415 unsupported-media-type
    ├── RateLimited                    429 rate-limited *
    ├── HandlerError                   500 handler-error          the user's code raised
    │   └── Retryable                  500 handler-error          raised by user code that asks to be tried again
    ├── HookError                      500 hook-error             a plug-in raised
    ├── Cancelled                      499 cancelled              the caller went away, or cancelled
    ├── Unavailable                    503                        the family of "not now"
    │   ├── QueueFull                  503 queue-full *
    │   ├── QueueTimeout               503 queue-timeout *
    │   ├── DeadlineInfeasible         503 deadline-infeasible *
    │   ├── CircuitOpen                503 circuit-open *
    │   ├── Draining                   503 draining *
    │   ├── NotReady                   503 not-ready *
    │   └── WorkerLost                 503 worker-lost            ``*`` only if the endpoint is idempotent
    └── DeadlineExceeded               504                        the family of "it ran, and was stopped"
        ├── ExecutionTimeout           504 execution-timeout      also for first_chunk and idle
        └── TotalTimeout               504 total-timeout

Catch ``Unavailable`` to try elsewhere, ``DeadlineExceeded`` to learn that time ran out, ``PenstockError`` for all.
"""

from __future__ import annotations

import math
from typing import ClassVar


class PenstockError(Exception):
    """The root of the tree.

    Parameters
    ----------
    detail:
        One sentence for a person: names the thing, the cause and, where there is one, the mend.
    retryable:
        Whether the same request may safely be sent again. Default: the class's.
    retry_after:
        Seconds after which another try may succeed, or None.
    param:
        The name of the offending request field, if there is one.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    default_retryable: ClassVar[bool] = False

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
        """Extra response headers that belong to this error (for instance ``Allow``)."""
        return {}


class DeclarationError(PenstockError):
    """An endpoint, a policy or an app is declared wrongly. Raised at import, never at run time."""

    code = "declaration-error"
    title = "Wrong declaration"


class PluginError(DeclarationError):
    """A plug-in cannot be imported or does not fit its hooks, or there is something wrong with its settings."""

    code = "plugin-error"
    title = "Wrong plug-in"


class EngineError(PenstockError):
    """The engine was used wrongly (not started, closed), or a pool could not be started."""

    code = "engine-error"
    title = "Engine error"


class InvalidRequest(PenstockError):
    """The body is well formed but does not fit the endpoint's schema.

    ``errors`` is a list of ``{"path": "$.field", "reason": "..."}``.
    """

    status = 422
    code = "invalid-request"
    title = "The request does not fit the schema"

    def __init__(
        self, detail: str = "", *, errors: list[dict[str, str]] | None = None, param: str | None = None
    ) -> None:
        super().__init__(detail, param=param)
        self.errors = errors if errors is not None else [{"path": "$", "reason": self.detail}]


class MalformedRequest(InvalidRequest):
    """The body cannot be read at all: not JSON, not UTF-8, cut short."""

    status: ClassVar[int] = 400
    title = "The request cannot be read"


class Unauthorized(PenstockError):
    """No credentials, or wrong ones. ``challenge`` is the ``WWW-Authenticate`` header."""

    status = 401
    code = "unauthorized"
    title = "Unauthorized"

    def __init__(self, detail: str = "", *, challenge: str = "Bearer") -> None:
        super().__init__(detail)
        self.challenge = challenge

    @property
    def headers(self) -> dict[str, str]:
        """The challenge that RFC 9110 asks for with every 401."""
        return {"WWW-Authenticate": self.challenge}


class Forbidden(PenstockError):
    """The caller is known, and may not do this. ``challenge`` is the ``WWW-Authenticate`` header, if there is one."""

    status = 403
    code = "forbidden"
    title = "Forbidden"

    def __init__(self, detail: str = "", *, challenge: str = "") -> None:
        super().__init__(detail)
        self.challenge = challenge

    @property
    def headers(self) -> dict[str, str]:
        """The challenge that says which scope is missing (RFC 6750)."""
        return {"WWW-Authenticate": self.challenge} if self.challenge else {}


class NotFound(PenstockError):
    """There is no such path, or no such endpoint."""

    status = 404
    code = "not-found"
    title = "Not found"


class MethodNotAllowed(PenstockError):
    """The path exists, and does not take this method. ``allowed`` lists those it takes."""

    status = 405
    code = "method-not-allowed"
    title = "Method not allowed"

    def __init__(self, detail: str = "", *, allowed: tuple[str, ...] = ("POST",)) -> None:
        super().__init__(detail)
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """``Allow``, which RFC 9110 asks for with every 405."""
        return {"Allow": ", ".join(self.allowed)}


class PayloadTooLarge(PenstockError):
    """The body is larger than the server takes. Known from the header where there is one."""

    status = 413
    code = "payload-too-large"
    title = "Payload too large"


class UnsupportedMediaType(PenstockError):
    """The body's content type is not one that the endpoint reads."""

    status = 415
    code = "unsupported-media-type"
    title = "Unsupported media type"


class RateLimited(PenstockError):
    """The caller asks too often."""

    status = 429
    code = "rate-limited"
    title = "Too many requests"
    default_retryable = True


UNENCODABLE = "UnencodableResult"
"""The ``exception_type`` of a result that cannot be sent. Its detail names types and no data, so callers may see it."""


class HandlerError(PenstockError):
    """The user's code raised, or returned what cannot be sent.

    ``exception_type`` and ``traceback`` are for logs and for ``--debug``; an outside caller never sees them otherwise.
    ``may_retry`` says that the endpoint's ``Retries`` know this failure as one that may pass, or that it was
    ``Retryable``; ``retry_delay`` is the delay that it has asked for.
    """

    code = "handler-error"
    title = "The handler failed"

    # Here as well, for the user's own subclasses that do not call this __init__.
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
        self.may_retry = may_retry
        self.retry_delay = retry_delay


class Retryable(HandlerError):
    """Raise it in a handler for "try me again": what is missing may be there in a moment.

    By raising it the code says that it may run once more, also where the endpoint is not idempotent. Whether it does is
    up to the endpoint's ``Retries``; if not, the caller is answered as for any other exception.

    Parameters
    ----------
    detail:
        What is missing, for the log.
    delay:
        Seconds until the next try. Default: as ``Retries.backoff`` says.

    Raises
    ------
    ValueError
        For a delay that is negative, infinite, or no number.
    """

    title = "The handler asks to be tried again"

    def __init__(self, detail: str = "", *, delay: float | None = None) -> None:
        if delay is not None and not 0 <= delay < math.inf:
            raise ValueError(f"Retryable(delay={delay!r}): give seconds, 0 or more")
        super().__init__(detail, may_retry=True, retry_delay=delay)


class HookError(PenstockError):
    """A plug-in's decision hook raised. This job fails; no other is touched."""

    code = "hook-error"
    title = "A hook failed"


class Cancelled(PenstockError):
    """The caller went away or cancelled; mostly nobody is left to read this."""

    status = 499
    code = "cancelled"
    title = "Cancelled"


class Unavailable(PenstockError):
    """Not now. Every error of this family carries ``Retry-After`` over HTTP."""

    status = 503
    code = "unavailable"
    title = "Unavailable"
    default_retryable = True


class QueueFull(Unavailable):
    """The queue's bound (jobs or bytes) is reached. Raised before the body is read."""

    code = "queue-full"
    title = "The queue is full"


class QueueTimeout(Unavailable):
    """The job waited for its whole queue time-out. It was never started."""

    code = "queue-timeout"
    title = "Timed out in the queue"


class DeadlineInfeasible(Unavailable):
    """The deadline cannot be met by what is known of the load, so nothing was started."""

    code = "deadline-infeasible"
    title = "The deadline cannot be met"


class CircuitOpen(Unavailable):
    """The endpoint has failed so often that it is given a rest."""

    code = "circuit-open"
    title = "The circuit is open"


class Draining(Unavailable):
    """The server is shutting down and takes nothing new."""

    code = "draining"
    title = "Draining"


class NotReady(Unavailable):
    """No worker of the pool is ready, and none will be soon."""

    code = "not-ready"
    title = "Not ready"


class WorkerLost(Unavailable):
    """The worker died while the job ran, and the job's tries are used up."""

    code = "worker-lost"
    title = "The worker was lost"
    default_retryable = False


class DeadlineExceeded(PenstockError):
    """It ran, and was stopped."""

    status = 504
    code = "deadline-exceeded"
    title = "Deadline exceeded"


class ExecutionTimeout(DeadlineExceeded):
    """One attempt ran for longer than it may, in all, to its first chunk, or between two chunks."""

    code = "execution-timeout"
    title = "Execution timed out"


class TotalTimeout(DeadlineExceeded):
    """The time from arrival to the last byte ran out, after the job had started."""

    code = "total-timeout"
    title = "Total time-out"
