"""The decision what becomes of a stored job whose call has an outcome. It has no clock and no dice of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from penstock.errors import (
    Cancelled,
    DeadlineExceeded,
    Draining,
    HandlerError,
    PayloadTooLarge,
    PenstockError,
    Retryable,
    Unavailable,
    WorkerLost,
)
from penstock.hooks import error_document
from penstock.job_store import FinalState, JobEnding, StoredJob
from penstock.policies import Backoff

RETRY_BACKOFF: Final = Backoff(base=2.0, factor=4.0, cap=300.0)
"""The wait of a job that failed for a reason that may pass. The engine has tried again at once, as ``Retries`` say."""
MOST_DEATHS: Final = 2

Stop: TypeAlias = Literal["cancel", "lease"] | PenstockError
"""The reason why the service has stopped a call: a caller's wish, a lost lease, or an error that is the outcome."""


@dataclass(frozen=True)
class Conclude:
    """Write the end."""

    ending: JobEnding


@dataclass(frozen=True)
class RetryLater:
    """Queue the job again, to run from an instant of the wall clock."""

    not_before: float
    reason: str


@dataclass(frozen=True)
class GiveBack:
    """Put the job back, uncounted. ``is_refused``: the engine had no place for it, so the next one waits."""

    is_refused: bool = False


Verdict: TypeAlias = Conclude | RetryLater | GiveBack


@dataclass(frozen=True)
class Result:
    """The response of a handler."""

    body: bytes
    media_type: str
    status: int
    headers: dict[str, str]


def judge(
    job: StoredJob,
    outcome: Result | PenstockError,
    *,
    attempts: int,
    stop: Stop | None = None,
    max_result_bytes: int,
    now: float,
    draw: Callable[[], float],
) -> Verdict:
    """Return what becomes of a job.

    Parameters
    ----------
    job:
        The job, as it was claimed.
    outcome:
        The outcome of its call.
    attempts:
        The number of attempts that were started.
    stop:
        The reason why the service has stopped the call, if it has.
    max_result_bytes:
        The size above which a result is not stored.
    now:
        The wall clock.
    draw:
        Returns a random number of at least 0 and below 1.
    """
    # 1. Stopped by the service, for an error of its own.
    if isinstance(stop, PenstockError):
        return _fail(job, stop)
    if isinstance(outcome, Result):
        return _judge_result(job, outcome, max_result_bytes)
    # 2. Stopped because a caller wants that.
    if isinstance(outcome, Cancelled):
        return Conclude(JobEnding(state="cancelled", code=Cancelled.code))
    # 3. It has not run, or not to its end, and runs again as if for the first time.
    if isinstance(outcome, Draining) or (isinstance(outcome, Unavailable) and not attempts):
        return _judge_unfinished(job, outcome, attempts)
    # 4. It failed for a reason that may pass.
    if job.claims < job.max_claims and _may_pass(job, outcome, attempts):
        return RetryLater(now + _wait(job, outcome, draw), outcome.code)
    # 5. It failed, or ran for too long.
    return _fail(job, outcome, "timed_out" if isinstance(outcome, DeadlineExceeded) else "failed")


def _judge_unfinished(job: StoredJob, outcome: PenstockError, attempts: int) -> Verdict:
    if attempts and job.on_lost == "fail":
        return _fail(job, WorkerLost("the server was stopped while it ran the job, which must not run twice"))
    return GiveBack(is_refused=not isinstance(outcome, Draining))


def _judge_result(job: StoredJob, result: Result, max_result_bytes: int) -> Conclude:
    if len(result.body) > max_result_bytes:
        return _fail(job, too_large(max_result_bytes))
    return Conclude(
        JobEnding(
            state="succeeded",
            result=result.body,
            media_type=result.media_type,
            status=result.status,
            headers=result.headers,
        )
    )


def too_large(max_result_bytes: int) -> PayloadTooLarge:
    """Return the error of a job with too large a result."""
    return PayloadTooLarge(
        f"the result is larger than {max_result_bytes} bytes; return less, or raise max_result in the settings of jobs"
    )


def _may_pass(job: StoredJob, error: PenstockError, attempts: int) -> bool:
    if isinstance(error, DeadlineExceeded):
        return False
    if isinstance(error, WorkerLost):
        # Two workers have died of it: a third one would.
        return job.on_lost == "retry" and attempts < MOST_DEATHS
    if job.on_lost == "fail":
        return isinstance(error, Retryable)  # the code itself says that it may run again
    return error.may_retry if isinstance(error, HandlerError) else error.retryable


def _wait(job: StoredJob, error: PenstockError, draw: Callable[[], float]) -> float:
    wanted = error.retry_delay if isinstance(error, HandlerError) else error.retry_after
    return draw() * RETRY_BACKOFF.ceiling(max(1, job.claims)) if wanted is None else wanted


def _fail(job: StoredJob, error: PenstockError, state: FinalState = "failed") -> Conclude:
    document = error_document(error, job.request_id)
    return Conclude(JobEnding(state=state, code=error.code, error=document))
