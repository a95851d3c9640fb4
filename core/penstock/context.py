"""The context of a job, for its handler."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from penstock.errors import Cancelled
from penstock.wire import MOST_PROGRESS_CHARACTERS, Trace

_LONGEST_GRPC_NUMBER: Final = 99_999_999  # the gRPC protocol allows at most eight digits
_LARGEST_AMOUNT: Final = 1e15


class Context:
    """The job as its handler sees it, injected into a parameter annotated ``Context``.

    Attributes
    ----------
    job_id:
        The job's own id, which no other job has, and which all of its attempts share.
    request_id:
        The request's id (``X-Request-Id``), which the caller may choose, and use again.
    attempt:
        The number of this attempt: 1 for the first.
    claim:
        The number of times that an engine has taken the job, this time included. It is above 1 only for a job that is
        stored, after its engine has died. With ``job_id`` it names one run of the job.
    principal:
        The caller, as named by the authenticator, or None.
    headers:
        The request's headers, with names in lower case. Those that the authenticator has read in order to identify the
        caller are omitted: a handler has no use for a credential, and could leak it.
    query:
        The query string as it was sent, without the question mark.
    deadline:
        The instant, by ``time.monotonic()``, at which this attempt is stopped; ``math.inf`` if there is none.
    """

    __slots__ = (
        "_is_cancelled",
        "_report",
        "_trace",
        "attempt",
        "claim",
        "deadline",
        "headers",
        "job_id",
        "principal",
        "query",
        "request_id",
    )

    def __init__(
        self,
        *,
        job_id: str = "",
        request_id: str = "",
        attempt: int = 1,
        claim: int = 1,
        principal: str | None = None,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        deadline: float = math.inf,
        is_cancelled: Callable[[], bool] = lambda: False,
        trace: Trace | None = None,
        report: Callable[[float, float | None, str | None], None] | None = None,
    ) -> None:
        self.job_id = job_id
        self.request_id = request_id
        self.attempt = attempt
        self.claim = claim
        self.principal = principal
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        self.query = query
        self.deadline = deadline
        self._is_cancelled = is_cancelled
        self._trace = trace
        self._report = report

    def __repr__(self) -> str:
        return f"<Context {self.job_id} attempt {self.attempt}, {self.remaining():.3f} s left>"

    def remaining(self) -> float:
        """Return the seconds until the deadline: 0.0 if it has passed, ``math.inf`` if there is none."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """True once no caller is waiting for this job, or its deadline has passed."""
        return self._is_cancelled() or time.monotonic() >= self.deadline

    def check(self) -> None:
        """Raise ``Cancelled`` if the job is no longer wanted.

        Raises
        ------
        Cancelled
            If the caller has left or the deadline has passed. Do not catch it: it ends the attempt.
        """
        if self.cancelled:
            raise Cancelled("no caller is waiting for this job any longer")

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Report how far the job has come, for its caller and for operators.

        It may be called as often as you like, from any thread: ten reports per second are sent, and in the end the last
        one. A batch's report is that of each of its jobs. Nothing is sent if nothing listens.

        Parameters
        ----------
        done:
            The amount that is done, in a unit of your own: segments, steps, bytes.
        total:
            The amount of the whole job in the same unit; None if it is not known.
        message:
            A few words about the present step. Only the first 500 characters are kept.

        Raises
        ------
        TypeError, ValueError
            If an amount is not a number, or is negative, infinite or NaN, or the message is not a text.
        """
        done = _amount("done", done)
        total = None if total is None else _amount("total", total)
        if message is not None and not isinstance(message, str):
            raise TypeError(f"progress(message={message!r}): give a text")
        if self._report is not None:
            self._report(done, total, None if message is None else message[:MOST_PROGRESS_CHARACTERS])

    def headers_for_downstream(self) -> dict[str, str]:
        """Return headers to send when the handler calls another service, so that the call does not outlive this job.

        Returns
        -------
        ``X-Request-Id`` and, if there is a deadline, the time left until it in three notations: ``X-Request-Timeout``
        (seconds), ``grpc-timeout`` and ``x-envoy-expected-rq-timeout-ms``. It is rounded down to milliseconds, so that
        the other service gives up before this one does. A batch's context has no id, since each of its jobs has one.
        If requests are traced, ``traceparent``, and ``tracestate`` and ``baggage`` as they were received.

        Raises
        ------
        Cancelled
            As ``check`` does, and also if less than a millisecond is left: the other service could only refuse.
        """
        self.check()
        headers = {"X-Request-Id": self.request_id} if self.request_id else {}
        if self._trace is not None and self._trace.trace_id:
            headers |= self._trace.headers()
        if self.deadline == math.inf:
            return headers
        milliseconds = int(self.remaining() * 1000)
        if milliseconds == 0:
            raise Cancelled("no time is left to call another service")
        seconds, rest = divmod(milliseconds, 1000)
        headers["X-Request-Timeout"] = f"{seconds}.{rest:03}"
        headers["grpc-timeout"] = _grpc_timeout(milliseconds)
        headers["x-envoy-expected-rq-timeout-ms"] = str(milliseconds)
        return headers


def _amount(name: str, value: float) -> float:
    try:
        amount = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"progress({name}={value!r}): give a number") from None
    if not 0 <= amount <= _LARGEST_AMOUNT:
        raise ValueError(f"progress({name}={value!r}): give a number from 0 to {_LARGEST_AMOUNT:.0e}")
    return amount


def _grpc_timeout(milliseconds: int) -> str:
    if milliseconds <= _LONGEST_GRPC_NUMBER:
        return f"{milliseconds}m"
    return f"{min(milliseconds // 1000, _LONGEST_GRPC_NUMBER)}S"
