"""Deadlines: the limit that stops a job next, its instant and its error. Pure functions of the job's record."""

from __future__ import annotations

from typing import Final

from penstock.errors import (
    Cancelled,
    DeadlineInfeasible,
    ExecutionTimeout,
    PenstockError,
    QueueTimeout,
    TotalTimeout,
    WorkerLost,
)
from penstock.scheduler.jobs import Job
from penstock.scheduler.states import BACKING_OFF, QUEUED
from penstock.scheduler.timers import NEVER

QUEUE: Final = "queue"
TOTAL: Final = "total"
EXECUTION: Final = "execution"
FIRST_CHUNK: Final = "first_chunk"
IDLE: Final = "idle"
UNREAD: Final = "unread"


def after(start: float, seconds: float | None) -> float:
    """Return the deadline of a timeout that began at ``start``."""
    return NEVER if seconds is None else start + seconds


def next_limit(job: Job) -> tuple[float, str]:
    """Return the instant at which the job must be stopped, as things stand, and the limit that demands it."""
    if job.state == QUEUED:
        return (job.start_by, QUEUE) if job.start_by <= job.finish_by else (job.finish_by, TOTAL)
    if job.state == BACKING_OFF:
        return job.finish_by, TOTAL
    execution = job.timeouts.execution
    when, limit = NEVER if execution is None else job.started + execution, EXECUTION
    if job.finish_by < when:
        when, limit = job.finish_by, TOTAL
    if job.head is not None or job.lane.is_stream:
        return min((when, limit), _stream_limit(job))
    return when, limit


def _stream_limit(job: Job) -> tuple[float, str]:
    """Return the limit on a stream's turn: the model's until there is a chunk, the caller's until it has taken all.

    ``job.progressed`` is when the turn last changed hands, or when a chunk arrived during the model's turn.
    """
    limits = job.timeouts
    if job.untaken:
        return after(job.progressed, limits.idle), UNREAD
    if job.chunks:
        return after(job.progressed, limits.idle), IDLE
    return after(job.started, limits.first_chunk), FIRST_CHUNK


def error_of_shedding(job: Job) -> PenstockError:
    """Return the error for a queued job that can no longer meet its deadline."""
    name = job.lane.name
    if job.failure is not None:
        return job.failure
    if job.attempts:
        return WorkerLost(f"{name}: its worker was lost, and the job can no longer finish in time", retryable=True)
    return DeadlineInfeasible(f"{name}: the job can no longer finish in time, so it was not started")


def error_of(job: Job, limit: str) -> PenstockError:
    """Return the error for a job stopped by ``limit``."""
    if job.state == QUEUED:
        return _error_in_queue(job, limit)
    name, limits = job.lane.name, job.timeouts
    if limit == TOTAL:
        return TotalTimeout(f"{name}: not finished within {limits.total:g} s of its arrival")
    if limit == UNREAD:
        return Cancelled(f"{name}: the caller has not read for {limits.idle:g} s")
    seconds, what = {
        EXECUTION: (limits.execution, "still running after"),
        FIRST_CHUNK: (limits.first_chunk, "no first chunk after"),
        IDLE: (limits.idle, "no further chunk for"),
    }[limit]
    return ExecutionTimeout(f"{name}: {what} {seconds:g} s")


def _error_in_queue(job: Job, limit: str) -> PenstockError:
    name, limits = job.lane.name, job.timeouts
    if job.failure is not None:
        return job.failure  # it is queued again, and its failure says more than that no worker was free
    if job.attempts:  # its worker was lost; only jobs that may safely run twice are queued again after that
        return WorkerLost(f"{name}: its worker was lost, and no other became free in time", retryable=True)
    if limit == QUEUE:
        return QueueTimeout(f"{name}: not started within {limits.queue:g} s")
    return QueueTimeout(f"{name}: not started within its total time of {limits.total:g} s")
