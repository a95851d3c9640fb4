"""Staffing: how many workers a pool has, where they are, and which of them work.

Whatever makes a worker come or go adds its pool to ``SchedulerState.to_staff``, and at the end of the turn ``settle``
brings the pool to its proper strength. It looks only at the present state, not at the events that have led to it.
"""

from __future__ import annotations

from penstock.errors import NotReady, WorkerLost
from penstock.scheduler import answers, endings, recycling
from penstock.scheduler import commands as do
from penstock.scheduler import dispatch as dispatching
from penstock.scheduler import events as on
from penstock.scheduler.pools import (
    MAX_START_TRIES,
    Place,
    Succession,
    Worker,
    WorkerPool,
    restart_delay,
)
from penstock.scheduler.reports import CHECK, PoolFailedReport, RestartReport, ScaleReport, TakeOverReport
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import BUSY, DEAD, DRAINING, READY, STANDBY, STARTING

# ---- starts


def on_start_requested(state: SchedulerState, _event: on.StartRequested, now: float) -> None:
    """Start a worker in every place."""
    for pool in state.pools.values():
        for place in pool.places:
            _start_worker(state, place, now)


def on_place_due(state: SchedulerState, place: Place, now: float) -> None:
    """Handle a place's timer: the back-off before its next start is over, or the probation of its worker."""
    if place.worker is not None:
        if place.worker.state is not DEAD:
            place.failures = 0
    elif place.pool.failure is None and (not state.is_draining or place.pool.has_queued):
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


def _start_after_back_off(state: SchedulerState, place: Place, now: float) -> None:
    delay = restart_delay(place.failures)
    if delay:
        state.timers.arm(place, now + delay)
    else:
        _start_worker(state, place, now)


# ---- places


def replace(state: SchedulerState, place: Place, now: float) -> None:
    """Start another worker in a place whose worker has exited, or give the place up if the pool needs it no more."""
    pool = place.pool
    if place.failures >= MAX_START_TRIES and not pool.was_ready:
        _fail_pool(state, pool, place.problem, now)
    if pool.failure is not None:
        _answer_stranded(state, pool, now)
        return
    succession = pool.succession
    if place not in pool.places:
        return  # it was given up before
    if pool.surplus > 0 or (succession is not None and succession.place is place):
        pool.places.remove(place)
        return
    place.restarts += 1
    state.report(RestartReport(place, restart_delay(place.failures)))
    _start_after_back_off(state, place, now)


def _add_place(state: SchedulerState, pool: WorkerPool, index: int, now: float) -> None:
    """Add a place, and start a worker in it."""
    place = Place(pool, index)
    pool.places.append(place)
    pool.places.sort(key=lambda place: place.index)
    _start_worker(state, place, now)


def _add_twin(state: SchedulerState, place: Place, now: float) -> Place:
    """Add a place of the same name and device, and start a worker in it, to replace the one in the other place."""
    twin = Place(place.pool, place.index)
    twin.failures, twin.failed_in, twin.problem = place.failures, place.failed_in, place.problem
    twin.last_end = place.last_end
    twin.restarts = place.restarts + 1
    place.pool.places.insert(place.pool.places.index(place) + 1, twin)
    state.report(RestartReport(twin, restart_delay(twin.failures)))
    _start_after_back_off(state, twin, now)
    return twin


def _give_up(state: SchedulerState, place: Place, now: float) -> None:
    """Give up a place that the pool does not need. A worker that works there leaves it when it has finished."""
    worker = place.worker
    if worker is not None and worker.state in (STANDBY, READY, BUSY):
        endings.retire(state, worker, now)
        return
    place.pool.places.remove(place)
    state.timers.disarm(place)
    if worker is not None and worker.state is STARTING:
        endings.kill(state, worker, now, "the pool does not need it any more", is_routine=True)


def _fail_pool(state: SchedulerState, pool: WorkerPool, error: str, now: float) -> None:
    if pool.failure is not None:
        return
    pool.failure = error
    state.report(PoolFailedReport(pool, pool.failure))
    _answer_stranded(state, pool, now)


def _answer_stranded(state: SchedulerState, pool: WorkerPool, now: float) -> None:
    """Answer the waiting jobs of a failed pool, which starts no worker, once it has none left to run them."""
    if pool.is_ready or pool.standing_by():
        return
    for lane in pool.lanes:
        sentence = f"{lane.name}: pool {pool.name} could not be started"
        for job in lane.waiting():
            lost = WorkerLost(sentence, retryable=True) if job.attempts else NotReady(sentence)
            answers.answer(state, job, "fail", job.failure or lost, now)


# ---- the size of a pool


def on_scale_requested(state: SchedulerState, event: on.ScaleRequested, now: float) -> None:
    """Change the number of a pool's workers. New ones start at once; others leave when they have finished."""
    pool = state.pools[event.pool]
    if state.is_draining or pool.failure is not None or event.workers == pool.target:
        return
    before, pool.target = pool.target, event.workers
    state.report(ScaleReport(pool, before, event.who))
    while pool.surplus < 0:
        kept = {place.index for place in pool.places if place.worker is None or place.worker.state is not DRAINING}
        _add_place(state, pool, next(index for index in range(len(kept) + 1) if index not in kept), now)
    state.to_staff.append(pool)


def settle(state: SchedulerState, now: float) -> None:
    """Give the pools in which something has changed what they lack, and take what they have too much of."""
    while state.to_staff:
        pool = state.to_staff.pop()
        _let_take_over(state, pool, now)
        if not state.is_draining and pool.failure is None:
            _recycle(state, pool, now)
            while pool.surplus > 0 or len(pool.working()) > pool.target:
                _give_up(state, _least_needed(pool), now)
            _let_take_over(state, pool, now)
        dispatching.dispatch(state, pool, now)


def _let_take_over(state: SchedulerState, pool: WorkerPool, now: float) -> None:
    """Let workers that stand by take over where too few work."""
    while len(pool.working()) < pool.target and (standbys := pool.standing_by()):
        worker = max(standbys, key=lambda worker: pool.lacks_on_device(worker.place))
        if worker.since < now:  # otherwise it has only just become ready, and was never a spare
            state.report(TakeOverReport(worker))
        worker.move("take over", now)


def _least_needed(pool: WorkerPool) -> Place:
    """Return the place to give up: one without a worker, one beyond the spares, or one whose device has too many."""
    has_too_many = len(pool.working()) > pool.target

    def need(place: Place) -> tuple[bool, int, int]:
        worker = place.worker
        if worker is None or worker.state is DEAD:
            return has_too_many, 0, -place.index
        is_working = worker.state in (READY, BUSY)
        return is_working != has_too_many, pool.lacks_on_device(place) + 1, -place.index

    return min([place for place in pool.places if place.worker is None or place.worker.state is not DRAINING], key=need)


# ---- recycling


def _recycle(state: SchedulerState, pool: WorkerPool, now: float) -> None:
    """Make the next step in replacing a worker that is due: one at a time, and only while the pool is complete."""
    succession = pool.succession
    if succession is not None:
        if not recycling.is_in_use(succession.worker):
            pool.succession = None  # it is gone: the new worker is in its place already
        elif pool.standing_by() or pool.is_complete:
            pool.succession = None  # without a new worker, which could not start: then the old one makes room first
            endings.retire(state, succession.worker, now)
        return
    for worker in [worker for worker in pool.to_recycle if not recycling.is_in_use(worker)]:
        del pool.to_recycle[worker]
    if pool.to_recycle and pool.is_complete:
        _begin_recycling(state, next(iter(pool.to_recycle)), now)


def _begin_recycling(state: SchedulerState, worker: Worker, now: float) -> None:
    pool, place = worker.pool, worker.place
    reason, detail = pool.to_recycle.pop(worker)
    is_ready_first = recycling.may_wait(state, worker, reason)
    recycling.record(state, worker, reason, detail, is_ready_first=is_ready_first)
    if reason == CHECK:
        place.fail(worker.state, f"their check fails: {detail}")  # without a back-off there might be no end
    has_spare = any(other is not worker for other in pool.standing_by())
    if is_ready_first and not has_spare and worker.state is not STANDBY:
        pool.succession = Succession(worker, _add_twin(state, place, now))
        return
    endings.retire(state, worker, now)
    if not has_spare and recycling.is_urgent(reason):
        _add_twin(state, place, now)
