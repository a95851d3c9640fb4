"""Endings: how workers are stopped and killed, and what becomes of the jobs that they held."""

from __future__ import annotations

from typing import Final

from penstock.scheduler import commands as do
from penstock.scheduler import retries, sending_ahead
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.pools import Worker
from penstock.scheduler.reports import KillReport
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import ATTEMPT, JOB
from penstock.scheduler.timers import NEVER

TEARDOWN_SECONDS: Final = 5.0
"""The time a worker may take to tear down before it is killed."""


# ---- stopping and killing


def retire(state: SchedulerState, worker: Worker, now: float) -> None:
    """Give a healthy worker no more work, and make it exit when it has finished what it has begun."""
    worker.move("drain", now)
    state.to_staff.append(worker.pool)
    state.recall_line(worker)
    retire_when_done(state, worker, now)


def retire_when_done(state: SchedulerState, worker: Worker, now: float) -> None:
    """End a worker that accepts no new work once no caller waits for any of its attempts."""
    if not worker.attempts:
        stop_worker(state, worker, now)
    elif all(not attempt.live and attempt.due == NEVER for attempt in worker.attempts.values()):
        kill(state, worker, now, "only attempts that did not stop are left in it")


def kill(
    state: SchedulerState,
    worker: Worker,
    now: float,
    reason: str,
    *,
    started: int | None = 0,
    is_routine: bool = False,
) -> None:
    """Kill the worker's process. Jobs whose callers still wait for them are innocent of that, unless ``started``.

    ``is_routine`` is true if nothing is wrong with the worker.
    """
    worker.move("die", now)
    state.to_staff.append(worker.pool)
    state.out.append(do.Kill(worker.id))
    worker.place.last_end = f"killed: {reason}"
    state.report(KillReport(worker, list(worker.attempts.values()), reason, is_routine))
    state.timers.disarm(worker)
    lose_attempts(state, worker, now, started)


def stop_worker(state: SchedulerState, worker: Worker, now: float) -> None:
    """Make an idle worker tear down and exit."""
    state.out.append(do.StopWorker(worker.id))
    state.timers.arm(worker, now + TEARDOWN_SECONDS)


# ---- what becomes of lost work


def lose_attempts(state: SchedulerState, worker: Worker, now: float, started: int | None) -> None:
    """Settle what a worker that is gone still held. ``started`` as in ``WorkerExited``; 0 blames no attempt."""
    while worker.line:
        waiting = worker.line.pop()
        if waiting.id == started:
            _blame(state, waiting, now)
        else:
            sending_ahead.take_back(state, waiting, "lose", now)
    worker.line_bytes = 0
    attempts = list(worker.attempts.values())
    worker.attempts.clear()
    for attempt in reversed(attempts):
        del state.attempts[attempt.id]
        state.timers.disarm(attempt)
        attempt.state = ATTEMPT[attempt.state]["lose"]
        attempt.lane.counts.record_attempt(len(attempt.jobs), 0, now - attempt.started)  # no result of it will arrive
        is_innocent = started is not None and attempt.id != started
        for job in reversed(attempt.jobs):
            if job.attempt is attempt:
                _lose(state, job, now, is_innocent=is_innocent)


def _blame(state: SchedulerState, attempt: Attempt, now: float) -> None:
    """Settle an attempt of the line that the worker had begun, and died in, before it could report that it began."""
    del state.attempts[attempt.id]
    attempt.state = ATTEMPT[attempt.state]["lose"]
    for job in attempt.jobs:
        if job.attempt is attempt:
            job.lane.ahead -= 1
            job.lane.running += 1
            job.started = now
            job.attempts += 1
            job.spent += 1
            job.state = JOB[job.state]["start"]
            _lose(state, job, now, is_innocent=False)


def _lose(state: SchedulerState, job: Job, now: float, *, is_innocent: bool) -> None:
    """Settle a job that has lost its worker."""
    if is_innocent:
        job.spent -= 1
        retries.spare(state, job, now)
    else:
        job.deaths += 1
        retries.fail(state, job, retries.error_of_loss(job), now)
