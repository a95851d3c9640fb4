"""Answering jobs, which is all that a deadline, a hang-up, a cancel or the end of a drain does.

Each of them answers the job; an attempt whose last job has been answered is stopped. The rest of the ladder, from the
interrupt to the kill, follows from that: see ``supervision``.
"""

from __future__ import annotations

from typing import Any, Final

from penstock.errors import Cancelled, HandlerError, PenstockError
from penstock.scheduler import commands as do
from penstock.scheduler import deadlines
from penstock.scheduler.guarded_queue import GuardedQueue
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.reports import INTERRUPT, CountsReport, InterruptReport
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import ATTEMPT, BACKING_OFF, JOB, QUEUED, RUNNING, SENT, STREAMING

_CLOCK_SLACK: Final = 0.05
"""A worker's own cancel scope may end an attempt up to this much before the engine's timer for the same deadline."""


def refuse(state: SchedulerState, job: Job, refusal: PenstockError) -> None:
    """Refuse a job. It never counts as one: it appears only in the count of its lane's outcomes."""
    job.state = JOB[job.state]["fail"]
    job.settle(job.arrived)
    job.outcome = _bare(refusal)
    job.lane.counts.outcomes[refusal.code] += 1
    state.out.append(do.Answer(job))


def answer(state: SchedulerState, job: Job, happening: str, outcome: Any, now: float, *, why: str = "") -> None:
    """Answer the job. If no other job waits for its attempt, stop the attempt."""
    lane = job.lane
    attempt = job.attempt
    if job.state is BACKING_OFF:
        del lane.backing_off[job.sequence]
    elif attempt is None:
        lane.queue.remove(job, happening, now)
        lane.pool.queued -= 1
        lane.items -= job.items
        if lane.batching is not None:
            state.plan_next_batch(lane, now)
    else:
        job.attempt = None
        attempt.live -= 1
        if job.state is RUNNING:
            lane.running -= 1
        else:
            lane.ahead -= 1
    job.state = JOB[job.state][happening]
    job.settle(now)
    job.outcome = outcome if happening == "succeed" else _bare(outcome)
    state.timers.disarm(job)
    state.jobs_live -= 1
    code = "ok" if happening == "succeed" else outcome.code
    first_chunk = job.first_chunk_seconds if job.chunks else None
    if lane.counts.record(code, job.queue_seconds, job.execution_seconds, first_chunk):
        state.report(CountsReport(lane, lane.counts.take()))
    state.out.append(do.Answer(job))
    if attempt is not None and not attempt.live:
        if attempt.state is RUNNING or attempt.state is STREAMING:
            stop(state, attempt, job, why or happening, now)
        elif attempt.state is SENT:
            state.recall_line(attempt.worker)


def _bare(error: PenstockError) -> PenstockError:
    """Return an error without its traceback: a policy may have raised it, from frames that hold the job."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def fail(state: SchedulerState, job: Job, error: PenstockError, now: float) -> None:
    """Answer a job with the error that its worker reports."""
    if isinstance(error, Cancelled):
        # No caller has asked for it: the worker's own cancel scope was slightly faster than our timer.
        when, limit = deadlines.next_limit(job)
        if when - now <= _CLOCK_SLACK:
            _expire(state, job, limit, now)
            return
        error = HandlerError(f"{job.lane.name}: the handler cancelled itself", exception_type="Cancelled")
    answer(state, job, "fail", error, now)


def expire_or_watch(state: SchedulerState, job: Job, now: float) -> None:
    """Answer the job if one of its limits has passed; otherwise arm its timer for the next one."""
    when, limit = deadlines.next_limit(job)
    if when <= now:
        _expire(state, job, limit, now)
    elif job.state is QUEUED:
        watch(state, job, now)
    else:
        state.timers.arm(job, when)


def watch(state: SchedulerState, job: Job, now: float) -> None:
    """Arm the timer that bounds a queued job's wait. A queue that sheds may shed the job at once."""
    when = min(job.start_by, job.finish_by)
    if job.attempt is None and job.lane.queue.sheds:
        give_up_at = job.lane.queue.give_up_at(job, now)
        if give_up_at <= now:
            _shed(state, job, now)
            return
        when = min(when, give_up_at)
    state.timers.arm(job, when)


def shed_if_hopeless(state: SchedulerState, job: Job, now: float) -> bool:
    """Shed the head of a queue if it can no longer meet its deadline; return whether it was shed."""
    when = job.lane.queue.give_up_at(job, now)
    if when <= now:
        _shed(state, job, now)
        return True
    if when < job.due:  # it may not start after all, if its queue then makes a mistake
        state.timers.arm(job, when)
    return False


def _shed(state: SchedulerState, job: Job, now: float) -> None:
    queue = job.lane.queue
    failure = queue.failure_of(job) if type(queue) is GuardedQueue else None
    if failure is not None:
        answer(state, job, "fail", failure, now)
    else:
        answer(state, job, "shed", job.lane.advise(deadlines.error_of_shedding(job), now), now)


def _expire(state: SchedulerState, job: Job, limit: str, now: float) -> None:
    happening = "cancel" if limit == deadlines.UNREAD else "expire"
    answer(state, job, happening, job.lane.advise(deadlines.error_of(job, limit), now), now, why=limit)


def stop(state: SchedulerState, attempt: Attempt, job: Job, why: str, now: float) -> None:
    """Interrupt an attempt that no caller waits for, and start its grace period."""
    attempt.state = ATTEMPT[attempt.state]["stop"]
    state.recall_line(attempt.worker)  # the jobs in its line must not wait for the grace period
    state.out.append(do.Interrupt(attempt.worker.id, attempt.id))
    state.report(InterruptReport(attempt, job, why))
    state.timers.arm(attempt, now + attempt.lane.timeouts.grace)
    recycle = attempt.worker.pool.recycle
    if recycle is not None and recycle.after_interrupt:
        state.recycle(attempt.worker, INTERRUPT, f"{attempt.lane.name} was interrupted")
