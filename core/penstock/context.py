"""What a handler may know about the job that it is working on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from penstock.errors import Cancelled

_LONGEST_GRPC_NUMBER: Final = 99_999_999  # eight digits: the gRPC protocol allows no more


class Context:
    """The job as its handler sees it: injected into a parameter that is annotated ``Context``.

    Attributes
    ----------
    job_id:
        The request's id (``X-Request-Id``).
    attempt:
        1 for the first try of this job.
    principal:
        Who calls, as the authenticator named them, or None.
    headers:
        The request's headers, names in lower case.
    deadline:
        The instant of ``time.monotonic()`` at which this attempt is stopped; ``math.inf`` if it has none.
    """

    __slots__ = ("_is_cancelled", "attempt", "deadline", "headers", "job_id", "principal")

    def __init__(
        self,
        *,
        job_id: str = "",
        attempt: int = 1,
        principal: str | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float = math.inf,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.principal = principal
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        self.deadline = deadline
        self._is_cancelled = is_cancelled

    def __repr__(self) -> str:
        return f"<Context {self.job_id} attempt {self.attempt}, {self.remaining():.3f} s left>"

    def remaining(self) -> float:
        """Seconds until the deadline; 0.0 when it has passed, ``math.inf`` when there is none."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this job any more, or its deadline has passed."""
        return self._is_cancelled() or time.monotonic() >= self.deadline

    def check(self) -> None:
        """Return if the job is still wanted.

        Raises
        ------
        Cancelled
            If the caller has gone or the deadline has passed. Let it through: it ends the attempt.
        """
        if self.cancelled:
            raise Cancelled("nobody waits for this job any more")

    def headers_for_downstream(self) -> dict[str, str]:
        """What to send along when the handler calls another service, so that it does not outlive this job.

        Returns
        -------
        ``X-Request-Id``; and if there is a deadline, what remains until it, in three notations: ``X-Request-Timeout``
        (seconds), ``grpc-timeout`` and ``x-envoy-expected-rq-timeout-ms``. Rounded down to milliseconds, so that the
        other service gives up before we do. The context of a batch has no id, as its jobs have one each.

        Raises
        ------
        Cancelled
            As ``check`` does, and also if less than a millisecond is left: whoever is called could only refuse.
        """
        self.check()
        headers = {"X-Request-Id": self.job_id} if self.job_id else {}
        if self.deadline == math.inf:
            return headers
        milliseconds = int(self.remaining() * 1000)
        if milliseconds == 0:
            raise Cancelled("there is no time left to call anybody")
        seconds, rest = divmod(milliseconds, 1000)
        headers["X-Request-Timeout"] = f"{seconds}.{rest:03}"
        headers["grpc-timeout"] = _grpc_timeout(milliseconds)
        headers["x-envoy-expected-rq-timeout-ms"] = str(milliseconds)
        return headers


def _grpc_timeout(milliseconds: int) -> str:
    if milliseconds <= _LONGEST_GRPC_NUMBER:
        return f"{milliseconds}m"
    return f"{min(milliseconds // 1000, _LONGEST_GRPC_NUMBER)}S"
