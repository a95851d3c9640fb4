"""The scheduler's invariants, which hold after every event: a recount from scratch, in O(live jobs).

``penstock.testing.simulation`` checks the rules that take time to observe: each admitted job is answered exactly once,
in time, and with an error that is true.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import NoReturn

from penstock.scheduler import Attempt, Job, Lane, Scheduler
from penstock.scheduler.deadlines import next_limit
from penstock.scheduler.pools import Place, Worker, WorkerPool
from penstock.scheduler.sending_ahead import AHEAD_BYTES, AHEAD_MOST, STALL_SECONDS
from penstock.scheduler.states import (
    BACKING_OFF,
    BUSY,
    DEAD,
    DRAINING,
    FINAL,
    QUEUED,
    READY,
    RUNNING,
    SENT,
    STANDBY,
    STARTING,
    STOPPING,
    STREAMING,
)
from penstock.scheduler.timers import Timed


class InvariantBroken(AssertionError):
    """The scheduler is in a state that it must never be in. The message names the rule and the place."""


def check(scheduler: Scheduler) -> None:
    """Recount the state of the scheduler.

    Raises
    ------
    InvariantBroken
        If a rule does not hold.
    """
    live = 0
    for pool in scheduler.pools.values():
        live += _check_queues(pool, scheduler.now)
        live += sum(_check_backing_off(lane) for lane in pool.lanes)
    running: Counter[Lane] = Counter()
    ahead: Counter[Lane] = Counter()
    for attempt in scheduler.attempts.values():
        if attempt.state == SENT:
            ahead[attempt.lane] += _check_waiting(attempt)
        else:
            running[attempt.lane] += _check_attempt(attempt)
    for lane in scheduler.lanes.values():
        if (lane.running, lane.ahead) != (running[lane], ahead[lane]):
            _broken(f"{lane!r}: {running[lane]} jobs run; {lane.ahead} are counted as sent ahead, not {ahead[lane]}")
        live += running[lane] + ahead[lane]
    if live != scheduler.jobs_live:
        _broken(f"{scheduler!r} counts {scheduler.jobs_live} live jobs, but there are {live}")
    held = sum(_check_worker(worker) + _check_line(worker, scheduler.now) for worker in scheduler.workers.values())
    if held != len(scheduler.attempts):
        _broken(f"{scheduler!r}: the workers hold {held} attempts")
    leaving = {worker.place for worker in scheduler.workers.values()}
    for pool in scheduler.pools.values():
        _check_idle(pool, scheduler.now)
        _check_places(pool, leaving, is_draining=scheduler.is_draining)
        _check_staff(pool, is_draining=scheduler.is_draining)
    for attempt_id, holder in scheduler.state.given_back.items():
        if attempt_id in scheduler.attempts or holder not in scheduler.workers:
            _broken(f"attempt {attempt_id} of worker {holder} is listed as given back")
    if scheduler.is_drained and (live or held or scheduler.workers):
        _broken(f"{scheduler!r} is drained, but not empty")


def _broken(sentence: str) -> NoReturn:
    raise InvariantBroken(sentence)


def _check_armed(owner: Timed, limit: float) -> None:
    if owner.armed > limit or owner.due > limit:
        _broken(f"{owner!r} must be stopped at {limit}, but its timer is due at {owner.due}, armed for {owner.armed}")


def _check_queues(pool: WorkerPool, now: float) -> int:
    """Check the queues of a pool; return the number of jobs in them."""
    queued = sum(_check_queue(lane, pool, now) for lane in pool.lanes)
    if queued != pool.queued:
        _broken(f"{pool!r} counts {pool.queued} queued jobs, but there are {queued}")
    return queued


def _check_queue(lane: Lane, pool: WorkerPool, now: float) -> int:
    """Check a queue; return the number of jobs in it."""
    size_bytes = arrivals = items = 0
    batch_due = math.inf
    for job in lane.queue:
        if job.state != QUEUED or job.attempt is not None or job.head is not None or not job.admitted:
            _broken(f"{job!r} is in the queue")
        _check_armed(job, min(job.start_by, job.finish_by))
        size_bytes += job.size_bytes
        items += job.items
        arrivals += not job.attempts  # a job that is queued again is never refused for lack of room
        if lane.batching is not None:
            batch_due = min(batch_due, lane.batch_due(job))
    if size_bytes != lane.queue.size_bytes:
        _broken(f"{lane!r} counts {lane.queue.size_bytes} bytes, but holds {size_bytes}")
    if items != lane.items:
        _broken(f"{lane!r} counts {lane.items} items, but holds {items}")
    # One more may come back from each worker, which was believed to have begun it.
    arrivals += sum(_count_arrivals(lane, place.worker) for place in pool.places if place.worker is not None)
    if arrivals > lane.max_queue + len(pool.places):
        _broken(f"{lane!r} holds {arrivals} jobs, but its limit is {lane.max_queue}")
    if batch_due < math.inf and lane.due > now and not lane.armed <= lane.due <= batch_due:
        _broken(
            f"{lane!r} must send a batch at {batch_due}, but its timer is due at {lane.due}, armed for {lane.armed}"
        )
    return len(lane.queue)


def _count_arrivals(lane: Lane, worker: Worker) -> int:
    """Return the number of the lane's jobs that wait in the worker's line and have never been attempted."""
    return sum(attempt.live for attempt in worker.line if attempt.lane is lane and not attempt.jobs[0].attempts)


def _check_backing_off(lane: Lane) -> int:
    """Check the jobs that wait for their next attempt, in no queue and on no worker; return their number."""
    for sequence, job in lane.backing_off.items():
        if job.state != BACKING_OFF or job.attempt is not None or job.sequence != sequence or job.lane is not lane:
            _broken(f"{job!r} is listed as backing off")
        if not job.attempts or job.chunks or job.head is not None or sequence in lane.queue.jobs:
            _broken(f"{job!r} must not be tried again")
        if not job.retry_at < job.finish_by:
            _broken(f"{job!r} is to be tried again at {job.retry_at}, after its deadline at {job.finish_by}")
        _check_armed(job, job.retry_at)
    return len(lane.backing_off)


def _check_waiting(attempt: Attempt) -> int:
    """Check an attempt that was sent ahead; return the number of its jobs that still wait for it."""
    (job,) = attempt.jobs
    if attempt not in attempt.worker.line or not attempt.lane.may_send_ahead:
        _broken(f"{attempt!r} is not in the line of {attempt.worker!r}")
    if attempt.live != (job.attempt is attempt):
        _broken(f"{attempt!r} counts {attempt.live} live jobs: {job!r}")
    if not attempt.live:
        if job.state not in FINAL:
            _broken(f"{job!r} is in {attempt!r}, which it does not wait for")
        return 0
    if job.state != QUEUED or job.is_suspect:
        _broken(f"{job!r} was sent ahead in {attempt!r}")
    _check_armed(job, min(job.start_by, job.finish_by))
    return 1


def _check_line(worker: Worker, now: float) -> int:
    """Check a worker's line, which waits only behind a running attempt, and never for long; return its length."""
    line = worker.line
    size_bytes = sum(attempt.jobs[0].size_bytes for attempt in line)
    if size_bytes != worker.line_bytes:
        _broken(f"{worker!r} counts {worker.line_bytes} bytes in its line, not {size_bytes}")
    if not line:
        return 0
    if max(size_bytes, *(attempt.jobs[0].size_bytes for attempt in worker.attempts.values())) > AHEAD_BYTES:
        _broken(f"{worker!r} is busy with a large body, and yet {size_bytes} bytes wait in its line")
    held = [*worker.attempts, *(attempt.id for attempt in line)]
    may_wait = worker.state == BUSY or (worker.state == DRAINING and line[-1].id <= worker.recalled)
    if len(worker.attempts) != 1 or not may_wait or held != sorted(set(held)) or len(line) > AHEAD_MOST:
        _broken(f"{worker!r} has attempts {held}, of which all but {list(worker.attempts)} wait in its line")
    if any(attempt.state != SENT for attempt in line):
        _broken(f"{worker!r}: {list(line)} are in its line")
    if line[-1].id > worker.recalled:
        _check_armed(worker, now + STALL_SECONDS)
    return len(line)


def _check_attempt(attempt: Attempt) -> int:
    """Check an attempt that has begun; return the number of its jobs that still wait for it."""
    worker = attempt.worker
    if worker.attempts.get(attempt.id) is not attempt or worker.state not in (BUSY, DRAINING):
        _broken(f"{attempt!r} is not held by {worker!r}")
    live = 0
    for job in attempt.jobs:
        live += _check_running(job, attempt)
    batching = attempt.lane.batching
    items = sum(job.items for job in attempt.jobs)
    if batching is not None and len(attempt.jobs) > 1 and items > batching.max_size:
        _broken(f"{attempt!r} has {items} items, and a batch {batching.max_size}")
    if live != attempt.live or attempt.state not in ((RUNNING, STREAMING) if live else (STOPPING,)):
        _broken(f"{attempt!r}: {live} of its jobs are live")
    # One that cannot be interrupted may stay in a worker that drains: the attempts beside it are healthy.
    may_stay = worker.state == DRAINING and not attempt.lane.is_interruptible
    if attempt.state == STOPPING and not attempt.armed <= attempt.due < math.inf and not may_stay:
        _broken(f"{attempt!r} is stopping, but no timer will end it")
    return live


def _check_running(job: Job, attempt: Attempt) -> bool:
    """Check a job of an attempt that has begun; return whether it still waits for the attempt."""
    if job.attempt is not attempt:
        if job.state not in FINAL:
            _broken(f"{job!r} is in {attempt!r}, which it does not wait for")
        return False
    if job.state != RUNNING or (job.head is not None) != (attempt.state == STREAMING):
        _broken(f"{job!r} is in {attempt!r}")
    _check_armed(job, next_limit(job)[0])
    if job.is_suspect and (len(attempt.jobs) > 1 or len(attempt.worker.attempts) > 1):
        _broken(f"{job!r} is a suspect, but runs beside others on {attempt.worker!r}")
    return True


def _check_worker(worker: Worker) -> int:
    """Check a worker; return the number of its attempts that have begun."""
    units = sum([attempt.units for attempt in worker.attempts.values()])
    state, is_used = worker.state, bool(worker.attempts)
    if state != DEAD and (worker.free < 0 or worker.free + units != worker.pool.capacity):
        _broken(f"{worker!r}: {units} of {worker.pool.capacity} units are taken")
    if is_used != (state == BUSY) and state != DRAINING:
        _broken(f"{worker!r} should not be {state}")
    if state == DRAINING and not is_used:
        _check_armed(worker, 1e300)  # it was asked to stop, and is killed if it does not
    if state == STARTING and worker.pool.start_timeout is not None:
        _check_armed(worker, worker.since + worker.pool.start_timeout)
    if worker.place.worker not in (worker, None):  # a dead one has left it
        _broken(f"{worker!r} is not in its place")
    return len(worker.attempts)


def _check_idle(pool: WorkerPool, now: float) -> None:
    """Check that no job waits that could start: the head of the due lane with the least rank fits on no worker."""
    due = [lane for lane in pool.lanes if len(lane.queue) and _is_due(lane, now)]
    if not due:
        return
    job = min(due, key=lambda lane: max(min(job.sequence for job in lane.queue), lane.served)).queue.head(now)
    units = pool.capacity if job.is_suspect else job.lane.units
    for place in pool.places:
        worker = place.worker
        if worker is not None and worker.state in (READY, BUSY) and worker.free >= units:
            _broken(f"{job!r} waits, but {worker!r} could run it")


def _is_due(lane: Lane, now: float) -> bool:
    if lane.batching is None or lane.items >= lane.batching.max_size or lane.queue.head(now).is_suspect:
        return True
    return any(lane.batch_due(job) <= now for job in lane.queue)


def _check_places(pool: WorkerPool, leaving: set[Place], *, is_draining: bool) -> None:
    """Check that each empty place gets a worker; while draining, one worker is enough, and only if jobs are queued."""
    if pool.failure is not None:
        if pool.has_queued and all(place.worker is None and place not in leaving for place in pool.places):
            _broken(f"{pool!r} has failed, but jobs wait for it")
        return
    empty = [place for place in pool.places if place.worker is None and not place.armed <= place.due < math.inf]
    empty = [place for place in empty if place not in leaving]
    if is_draining and (len(empty) < len(pool.places) or not pool.has_queued):
        return
    for place in empty:
        if place.restarts or is_draining:
            _broken(f"{pool!r}: place {place.name} is empty, and no timer will fill it")


def _check_staff(pool: WorkerPool, *, is_draining: bool) -> None:
    """Check that as many workers work as should, and that there are as many places as it takes for that."""
    if is_draining or pool.failure is not None:
        return
    if len(pool.working()) > pool.target or (len(pool.working()) < pool.target and pool.standing_by()):
        _broken(f"{pool!r}: {len(pool.working())} workers work instead of {pool.target}")
    leaving = sum(place.worker is not None and place.worker.state == DRAINING for place in pool.places)
    wanted = pool.target + pool.spares
    if len(pool.places) < wanted or len(pool.places) - leaving > wanted + (pool.succession is not None):
        _broken(f"{pool!r} should have {pool.target} places and {pool.spares} for spares")
    if pool.succession is not None and pool.succession.worker.state not in (STANDBY, READY, BUSY):
        _broken(f"{pool!r}: {pool.succession.worker!r} waits for its replacement")
