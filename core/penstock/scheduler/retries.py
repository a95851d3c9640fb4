"""Whether a job that has failed may run again, and what its caller is told if it may not."""

from __future__ import annotations

from typing import Final

from penstock.errors import HandlerError, PenstockError, WorkerLost
from penstock.scheduler.jobs import Job

POISON_DEATHS: Final = 2
"""A job that has seen so many workers die is taken to be the cause."""

MOST_ATTEMPTS: Final = 10
"""A lost job that has been begun so often is given up, however innocent it seems: something about it ends its workers.
"""


def is_safe_again(job: Job) -> bool:
    """Whether nothing is lost or done twice if the job runs once more, whoever sends it."""
    return not job.attempts or (job.lane.idempotent and not job.chunks)


def may_survive(job: Job) -> bool:
    """Whether a job whose worker is gone may run again, as far as the job is concerned."""
    return is_safe_again(job) and job.deaths < POISON_DEATHS and job.attempts < MOST_ATTEMPTS


def retry_lost(job: Job, error: PenstockError, _now: float) -> float | None:
    """The usual retry policy: lost workers only, at once, as often as ``Retries.max_attempts`` allows."""
    is_allowed = isinstance(error, WorkerLost) and job.spent < job.lane.retries.max_attempts
    return 0.0 if is_allowed else None


def delay_or_error(job: Job, error: HandlerError | WorkerLost, now: float) -> float | PenstockError:
    """After how many seconds a job that has failed is to run again; or what it is answered, mostly its failure.

    The lane's policy is asked only where it is safe to run the job again, and never gets it beyond the job's deadline.
    """
    if isinstance(error, WorkerLost):
        is_safe = may_survive(job)
    else:
        # Who asks to be tried again knows that it may.
        is_safe = is_safe_again(job) or (error.may_retry and not job.chunks)
    if not is_safe:
        return error
    try:
        delay = job.lane.retry(job, error, now)
    except PenstockError as refusal:
        return refusal
    # Not `>=`: a policy may give anything, and nothing is true of NaN.
    return error if delay is None or not now + delay < job.finish_by else max(0.0, delay)


def error_of_loss(job: Job) -> WorkerLost:
    """What the caller is told of a lost job that does not run again."""
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
    if job.spent >= job.lane.retries.max_attempts:
        return f"its {job.spent} attempts are used up"
    return "it is not to be tried again"
