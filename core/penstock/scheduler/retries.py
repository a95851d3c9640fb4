"""Retries: whether a job that has failed may run again, and how it does.

It is queued again at once, or after a delay during which it holds neither a slot nor a position in a queue.
"""

from __future__ import annotations

from typing import Final

from penstock.errors import HandlerError, PenstockError, WorkerLost
from penstock.scheduler import answers
from penstock.scheduler.deadlines import after
from penstock.scheduler.jobs import Job
from penstock.scheduler.reports import RetryReport
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import BACKING_OFF, JOB

POISON_DEATHS: Final = 2
"""A job that has seen this number of workers die is considered the cause."""

MOST_ATTEMPTS: Final = 10
"""A lost job that has begun this many times is given up, however innocent it seems: something about it ends workers."""


# ---- may it run again?


def is_safe_again(job: Job) -> bool:
    """Return whether running the job once more, by any sender, loses nothing and does nothing twice."""
    return not job.attempts or (job.lane.idempotent and not job.chunks)


def may_survive(job: Job) -> bool:
    """Return whether a job that has lost its worker may run again, as far as the job itself is concerned."""
    return is_safe_again(job) and job.deaths < POISON_DEATHS and job.attempts < MOST_ATTEMPTS


def delay_or_error(job: Job, error: HandlerError | WorkerLost, now: float) -> float | PenstockError:
    """Return the seconds after which a failed job runs again, or the error to answer it with.

    The lane's policy is asked only if it is safe to run the job again, and never extends the job's deadline.
    """
    if isinstance(error, WorkerLost):
        is_safe = may_survive(job)
    else:
        # Code that asks to be retried knows that it may be.
        is_safe = is_safe_again(job) or (error.may_retry and not job.chunks)
    if not is_safe:
        return error
    try:
        delay = job.lane.retry(job, error, now)
    except PenstockError as refusal:
        return refusal
    # Not `>=`: a policy may return anything, and no comparison with NaN is true.
    return error if delay is None or not now + delay < job.finish_by else max(0.0, delay)


def error_of_loss(job: Job) -> WorkerLost:
    """Return the error for a lost job that does not run again."""
    detail = f"{job.lane.name}: the worker died while running the job, and {_why_not_again(job)}"
    return WorkerLost(detail, retryable=is_safe_again(job))


def _why_not_again(job: Job) -> str:
    if job.chunks:
        return "it had already sent chunks"
    if not job.lane.idempotent:
        return "the endpoint is not idempotent, so the job must not run twice"
    if job.deaths >= POISON_DEATHS:
        return f"{job.deaths} workers have died while running it"
    if job.attempts >= MOST_ATTEMPTS:
        return f"it had already begun {job.attempts} times"
    if job.spent >= job.lane.retries.max_attempts:
        return f"its attempts are used up ({job.spent} of {job.lane.retries.max_attempts})"
    return "the retry policy does not allow another attempt"


# ---- running it again


def fail(state: SchedulerState, job: Job, error: HandlerError | WorkerLost, now: float) -> None:
    """Run a failed job again if that is safe and allowed; otherwise answer it."""
    verdict = delay_or_error(job, error, now)
    if isinstance(verdict, PenstockError):
        answers.answer(state, job, "fail", verdict, now)
        return
    # The report carries the attempt's number: without a delay, the next attempt has begun when it is read.
    state.report(RetryReport(job, job.attempts, verdict, error))
    job.failure = error if isinstance(error, HandlerError) else None
    if verdict:
        _back_off(state, job, now + verdict)
    else:
        requeue(state, job, now)


def spare(state: SchedulerState, job: Job, now: float) -> None:
    """Run a job again that lost its worker through no fault of its own, without charging it an attempt, if safe."""
    job.failure = None
    if may_survive(job):
        requeue(state, job, now)
    else:
        answers.answer(state, job, "fail", error_of_loss(job), now)


def unbegin(state: SchedulerState, job: Job, now: float) -> None:
    """Queue a job again that the worker gave back just before beginning it: the handler has not seen it."""
    job.attempts -= 1
    job.spent -= 1
    requeue(state, job, now)


def requeue(state: SchedulerState, job: Job, now: float) -> None:
    """Put a running job back into its queue."""
    _leave_attempt(job)
    _queue(state, job, now)


def _back_off(state: SchedulerState, job: Job, when: float) -> None:
    _leave_attempt(job)
    job.state = JOB[job.state]["back off"]
    job.retry_at = when
    job.lane.backing_off[job.sequence] = job
    state.timers.arm(job, when)  # `when` lies before the job's deadline


def on_job_due(state: SchedulerState, job: Job, now: float) -> None:
    """Handle a job's timer: its back-off is over, or one of its limits may have passed."""
    if job.state is BACKING_OFF and now < job.finish_by:
        del job.lane.backing_off[job.sequence]
        _queue(state, job, now)
    else:
        answers.expire_or_watch(state, job, now)


def _leave_attempt(job: Job) -> None:
    attempt = job.attempt
    assert attempt is not None
    attempt.live -= 1
    job.attempt = None
    job.head = None  # the next attempt need not answer with a stream
    job.lane.running -= 1


def _queue(state: SchedulerState, job: Job, now: float) -> None:
    lane = job.lane
    job.state = JOB[job.state]["requeue"]
    lane.queue.push_front(job, now)
    lane.pool.queued += 1
    lane.items += job.items
    job.start_by = after(now, job.timeouts.queue)
    answers.watch(state, job, now)
    if lane.batching is not None:
        state.plan_next_batch(lane, now)
