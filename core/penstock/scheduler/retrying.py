"""Whether a job whose worker was lost may run again, and what its caller is told if it may not."""

from __future__ import annotations

from typing import Final

from penstock.errors import PenstockError, WorkerLost
from penstock.scheduler.jobs import Job

POISON_DEATHS: Final = 2
"""A job that has seen so many workers die is taken to be the cause."""

MOST_ATTEMPTS: Final = 10
"""A job that has been begun so often is given up, however innocent it seems: something about it ends its workers."""


def is_safe_again(job: Job) -> bool:
    """Whether nothing is lost or done twice if the job runs once more, whoever sends it."""
    return not job.attempts or (job.lane.idempotent and not job.chunks)


def retry_lost(job: Job, error: PenstockError, _now: float) -> float | None:
    """The usual retry policy: lost workers only, at once, as often as ``Retries.max_attempts`` allows."""
    is_allowed = isinstance(error, WorkerLost) and job.spent < job.lane.retries.max_attempts
    return 0.0 if is_allowed else None


def error_unless_again(job: Job, now: float) -> PenstockError | None:
    """What to answer a job whose worker was lost, or None if it is to run once more: that is safe, and allowed."""
    error = error_of_loss(job)
    if not is_safe_again(job) or job.deaths >= POISON_DEATHS or job.attempts >= MOST_ATTEMPTS:
        return error
    try:
        return error if job.lane.retry(job, error, now) is None else None
    except PenstockError as refusal:
        return refusal


def error_of_loss(job: Job) -> WorkerLost:
    """What the caller is told of a job that may not run again."""
    detail = f"{job.lane.name}: the worker died while it ran the job, and {_why_not_again(job)}"
    return WorkerLost(detail, retryable=is_safe_again(job))


def _why_not_again(job: Job) -> str:
    if job.chunks:
        return "it had sent chunks already"
    if not job.lane.idempotent:
        return "may not run it twice"
    if job.deaths >= POISON_DEATHS:
        return f"{job.deaths} workers have died under it"
    if job.attempts >= MOST_ATTEMPTS:
        return f"it had been begun {job.attempts} times"
    return f"its {job.spent} attempts are used up"
