"""Supervision: how workers are started, stopped, killed and replaced, and what becomes of their jobs.

The last steps of the ladder are here: an attempt that does not stop within its grace period has its worker killed.
"""

from __future__ import annotations

from typing import Final

from penstock.errors import NotReady, WorkerLost
from penstock.scheduler import answers, retries, sending_ahead
from penstock.scheduler import commands as do
from penstock.scheduler import dispatch as dispatching
from penstock.scheduler import events as on
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.pools import MAX_START_TRIES, Place, Worker, WorkerPool, restart_delay
from penstock.scheduler.reports import (
    KillReport,
    OverstayReport,
    PoolFailedReport,
    PoolReadyReport,
    RestartReport,
    WorkerLostReport,
    WorkerReadyReport,
)
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import ATTEMPT, DEAD, DRAINING, JOB, STARTING
from penstock.scheduler.timers import NEVER

TEARDOWN_SECONDS: Final = 5.0
"""The time a worker may take to tear down before it is killed."""


# ---- starts


def on_start_requested(state: SchedulerState, _event: on.StartRequested, now: float) -> None:
    """Start a worker in every place."""
    for pool in state.pools.values():
        for place in pool.places:
            _start_worker(state, place, now)


def on_place_due(state: SchedulerState, place: Place, now: float) -> None:
    """Handle a place's timer: the back-off before its next start is over."""
    if place.pool.failure is None and (not state.is_draining or place.pool.has_queued):
        _start_worker(state, place, now)


def on_import_failed(state: SchedulerState, event: on.ImportFailed, now: float) -> None:
    """Give up all pools: no worker can be started."""
    for pool in state.pools.values():
        _fail_pool(state, pool, event.error, now)


def _start_worker(state: SchedulerState, place: Place, now: float) -> None:
    worker = Worker(next(state.worker_ids), place, now)
    place.worker = worker
    state.workers[worker.id] = worker
    state.out.append(do.StartWorker(worker.id, place.pool.name, place.index))
    if place.pool.start_timeout is not None:
        state.timers.arm(worker, now + place.pool.start_timeout)


def on_setup_finished(state: SchedulerState, event: on.SetupFinished, now: float) -> None:
    """Count a worker as ready, and give it work."""
    worker = state.workers.get(event.worker)
    if worker is None or worker.state is DEAD:
        return  # killed at the same moment
    started = worker.since
    state.timers.disarm(worker)
    worker.move("be ready", now)
    pool = worker.pool
    state.report(WorkerReadyReport(worker, event.seconds))
    if not pool.was_ready:
        pool.was_ready = True
        # The import counts as well: this is how long an operator has waited.
        state.report(PoolReadyReport(pool, now - started))
    dispatching.dispatch(state, pool, now)


# ---- exits


def on_workers_died(state: SchedulerState, event: on.WorkersDied, _now: float) -> None:
    """Give no more work to these workers: dead ones leave their places at once, whatever is still to come of them."""
    for worker_id in event.workers:
        worker = state.workers.get(worker_id)
        if worker is not None:
            worker.place.worker = None


def on_worker_exited(state: SchedulerState, event: on.WorkerExited, now: float) -> None:
    """Settle what a worker that has exited still held, and replace it."""
    worker = state.workers.pop(event.worker, None)
    if worker is None:
        return
    state.timers.disarm(worker)
    for attempt_id in [key for key, holder in state.given_back.items() if holder == worker.id]:
        del state.given_back[attempt_id]
    place = worker.place
    place.worker = None
    was = worker.state
    if was is DRAINING and not worker.attempts:
        worker.move("exit", now)
    elif was is not DEAD:
        place.failures += 1
        place.problem = event.error or f"its workers exit before they are ready: {event.reason}"
        worker.move("die", now)
        state.report(WorkerLostReport(worker, was, list(worker.attempts.values()), event.reason, event.error))
        _lose_attempts(state, worker, now, event.started)
    if not state.is_draining or place.pool.has_queued:
        _replace(state, place, now)
    dispatching.dispatch(state, place.pool, now)


def on_protocol_broken(state: SchedulerState, event: on.ProtocolBroken, now: float) -> None:
    """Kill a worker that can no longer be believed. As after a crash, the jobs that it was running are suspects."""
    worker = state.workers.get(event.worker)
    if worker is None or worker.state is DEAD:
        return
    worker.place.failures += 1
    worker.place.problem = f"its workers break the protocol: {event.reason}"
    kill(state, worker, now, f"it broke the protocol: {event.reason}", started=event.started)
    dispatching.dispatch(state, worker.pool, now)


def _replace(state: SchedulerState, place: Place, now: float) -> None:
    pool = place.pool
    if place.failures >= MAX_START_TRIES and not pool.was_ready:
        _fail_pool(state, pool, place.problem, now)
    if pool.failure is not None:
        _answer_stranded(state, pool, now)
        return
    delay = restart_delay(place.failures)
    place.restarts += 1
    state.report(RestartReport(place, delay))
    if delay:
        state.timers.arm(place, now + delay)
    else:
        _start_worker(state, place, now)


def _fail_pool(state: SchedulerState, pool: WorkerPool, error: str, now: float) -> None:
    if pool.failure is not None:
        return
    pool.failure = error
    state.report(PoolFailedReport(pool, pool.failure))
    _answer_stranded(state, pool, now)


def _answer_stranded(state: SchedulerState, pool: WorkerPool, now: float) -> None:
    """Answer the waiting jobs of a failed pool, which starts no worker, once it has none left to run them."""
    if pool.is_ready:
        return
    for lane in pool.lanes:
        sentence = f"{lane.name}: pool {pool.name} could not be started"
        for job in lane.waiting():
            lost = WorkerLost(sentence, retryable=True) if job.attempts else NotReady(sentence)
            answers.answer(state, job, "fail", job.failure or lost, now)


def on_worker_suspended(state: SchedulerState, event: on.WorkerSuspended, now: float) -> None:
    """Kill a worker that is stopped by a signal: it answers nothing, and runs no deadline out that could end it."""
    worker = state.workers.get(event.worker)
    if worker is not None and worker.state is not DEAD:
        kill(state, worker, now, event.reason)
        dispatching.dispatch(state, worker.pool, now)


# ---- what becomes of lost work


def _lose_attempts(state: SchedulerState, worker: Worker, now: float, started: int | None) -> None:
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


# ---- the last steps of the ladder


def on_attempt_due(state: SchedulerState, attempt: Attempt, now: float) -> None:
    """Handle an attempt's timer: its grace period is over, and the user's code has not stopped."""
    worker = attempt.worker
    state.report(OverstayReport(attempt))
    if attempt.lane.is_interruptible:
        kill(state, worker, now, f"attempt {attempt.id} of {attempt.lane.name} did not stop when interrupted")
        return
    # A thread cannot be interrupted, and the attempts beside it are healthy: they may finish first.
    worker.move("drain", now)
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
    state.out.append(do.Kill(worker.id))
    state.report(KillReport(worker, list(worker.attempts.values()), reason, is_routine))
    state.timers.disarm(worker)
    _lose_attempts(state, worker, now, started)


def stop_worker(state: SchedulerState, worker: Worker, now: float) -> None:
    """Make an idle worker tear down and exit."""
    state.out.append(do.StopWorker(worker.id))
    state.timers.arm(worker, now + TEARDOWN_SECONDS)


def on_worker_due(state: SchedulerState, worker: Worker, now: float) -> None:
    """Handle a worker's timer: its start or its tear-down takes too long, or its line has waited too long."""
    if worker.state is STARTING:
        place = worker.place
        place.failures += 1
        place.problem = f"its workers were not ready within {place.pool.start_timeout:g} s"
        kill(state, worker, now, f"it was not ready within {place.pool.start_timeout:g} s (App(start_timeout=))")
    elif worker.line:
        state.recall_line(worker)
    elif worker.state is DRAINING:
        kill(state, worker, now, f"its tear-down took longer than {TEARDOWN_SECONDS:g} s")
