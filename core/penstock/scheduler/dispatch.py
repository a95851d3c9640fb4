"""Dispatch: which job goes next, and to which worker. ``dispatch`` makes the whole decision."""

from __future__ import annotations

from penstock.errors import HookError
from penstock.scheduler import answers, deadlines, sending_ahead
from penstock.scheduler import commands as do
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lanes import Lane
from penstock.scheduler.pools import Worker, WorkerPool
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import ATTEMPT, BUSY, JOB, READY


def dispatch(state: SchedulerState, pool: WorkerPool, now: float) -> None:
    """Give jobs to the pool's workers for as long as there is a job to run and a worker to run it.

    The next job is the head of the lane with the least rank, strictly: an attempt that needs a whole worker is not
    overtaken by small ones, which would keep every worker partly busy indefinitely. For that job there are three cases:

    1. A worker has room for it: its attempt begins there. An idle worker is preferred, then the one with the most room.
    2. None has room, but a brisk one is about to: the job is sent ahead, and waits in that worker's line.
    3. Neither: every job waits until a worker reports something.

    In the first two cases the job's queue may shed it at the last moment, or make a mistake; then the next job is
    tried.
    """
    while pool.queued:
        job = next_job(pool, now)
        if job is None:
            return
        lane = job.lane
        # A suspect gets a worker to itself, so that it cannot take other jobs down with it.
        units = pool.capacity if job.deaths else lane.units
        worker = find_worker(pool, units)
        begins_now = worker is not None  # case 1
        if worker is None and not job.deaths:
            worker = sending_ahead.find_brisk_worker(pool, lane, job.size_bytes)  # case 2
        if worker is None:
            return  # case 3
        if lane.queue.sheds and answers.shed_if_hopeless(state, job, now):
            continue
        try:
            jobs = take_jobs(state, lane, now)
        except HookError:
            continue  # the queue has made a mistake; the job that fails for it is now its head
        attempt = send(state, jobs, worker, units, now)
        if begins_now:
            _begin(state, attempt, now)
        else:
            sending_ahead.join_line(state, attempt, now)


def start_at_once(state: SchedulerState, job: Job, now: float) -> bool:
    """Give a job that has just arrived to a worker, past its empty queue; return False if it has to wait there.

    The decision is the one that ``dispatch`` would make if the job were queued.
    """
    lane = job.lane
    pool = lane.pool
    if pool.queued:
        return False  # another lane's job may be next
    worker = find_worker(pool, lane.units)
    if worker is not None:
        _begin(state, send(state, [job], worker, lane.units, now), now)
        return True
    worker = sending_ahead.find_brisk_worker(pool, lane, job.size_bytes)
    if worker is None:
        return False
    sending_ahead.join_line(state, send(state, [job], worker, lane.units, now), now)
    return True


def next_job(pool: WorkerPool, now: float) -> Job | None:
    """Return the head of the lane with the least rank, among the lanes with an attempt that should go now."""
    lane = pool.only
    if lane is not None:
        queue = lane.queue
        return queue.head(now) if queue.jobs and (lane.batching is None or lane.is_due(now)) else None
    first = None
    for lane in pool.lanes:
        if lane.queue.jobs and (lane.batching is None or lane.is_due(now)):
            first = lane if first is None or lane.rank < first.rank else first
    return None if first is None else first.queue.head(now)


def find_worker(pool: WorkerPool, units: int) -> Worker | None:
    """Return a worker with this many free units: an idle one if there is one, else the one with the most room."""
    best = None
    most = units - 1
    for place in pool.places:
        worker = place.worker
        if worker is None or (worker.state is not READY and worker.state is not BUSY):
            continue
        if worker.free > most:
            best, most = worker, worker.free
            if most == pool.capacity:
                break
    return best


def take_jobs(state: SchedulerState, lane: Lane, now: float) -> list[Job]:
    """Remove the jobs of the next attempt from the queue: one job, or a batch. A suspect goes alone.

    The first goes whatever its items are: the worker refuses, or divides, what is too much.
    """
    if lane.batching is None:
        return [_pop(state, lane, now)]
    first = _pop(state, lane, now)
    jobs = [first]
    if not first.deaths:
        room = lane.batching.max_size - first.items
        while room > 0 and _may_join(state, lane, room, now):
            try:
                job = _pop(state, lane, now)
            except HookError:
                break  # the offending job fails when it reaches the head
            jobs.append(job)
            room -= job.items
    return jobs


def _pop(state: SchedulerState, lane: Lane, now: float) -> Job:
    queue = lane.queue
    job = queue.pop(now)
    lane.pool.queued -= 1
    lane.items -= job.items
    if queue.jobs and not lane.is_plain and next(iter(queue.jobs)) < job.sequence:
        # Numbered from the same sequence as arrivals, so that no two turns are equal, nor a turn and an arrival.
        state.sequence = lane.served = state.sequence + 1
    return job


def _may_join(state: SchedulerState, lane: Lane, room: int, now: float) -> bool:
    """Return whether the head of the queue may join a batch; heads that cannot be finished in time are shed."""
    queue = lane.queue
    while queue.jobs:
        job = queue.head(now)
        if job.is_suspect or job.items > room:
            return False
        if not queue.sheds or not answers.shed_if_hopeless(state, job, now):
            return True
    return False


def send(state: SchedulerState, jobs: list[Job], worker: Worker, units: int, now: float) -> Attempt:
    """Create an attempt and send it to the worker."""
    attempt = Attempt(next(state.attempt_ids), worker, jobs, units, now)
    state.attempts[attempt.id] = attempt
    worker.latest = attempt.id
    for job in jobs:
        job.attempt = attempt
    if attempt.lane.batching is not None:
        state.plan_next_batch(attempt.lane, now)
    state.out.append(do.Send(worker.id, attempt))
    return attempt


def begin_next(state: SchedulerState, worker: Worker, now: float) -> None:
    """Begin the first attempt of a worker's line."""
    _begin(state, sending_ahead.leave_line(state, worker, now), now)


def _begin(state: SchedulerState, attempt: Attempt, now: float) -> None:
    """Count the attempt as running from now on."""
    attempt.state = ATTEMPT[attempt.state]["start"]
    attempt.started = now
    attempt.worker.take(attempt, now)
    for job in attempt.jobs:
        if job.attempt is attempt:
            attempt.lane.running += 1
            job.started = now
            job.attempts += 1
            job.spent += 1
            job.state = JOB[job.state]["start"]
            state.timers.arm(job, deadlines.next_limit(job)[0])
    if not attempt.live:  # its job was answered while it waited in the line, and it has begun all the same
        answers.stop(state, attempt, attempt.jobs[0], "cancel", now)


def on_lane_due(_state: SchedulerState, lane: Lane, now: float) -> None:
    """Handle a lane's timer: its batch has waited long enough and goes as soon as a worker is free."""
    lane.due = now
