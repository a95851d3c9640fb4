"""The scheduler: events in, commands out, and the instant at which it wants to be called again.

It is the only thing that changes the state of jobs, attempts, workers and queues, and it has no clock, socket, thread
or randomness of its own: ``now`` is an argument, an instant of a monotonic clock. Each event costs O(log n) or less in
the number of queued jobs. The rules that hold after every step are in ``penstock.testing.invariants``.

The ladder by which a slot is taken back (queued: removed; running: interrupted; not acknowledged within ``grace``:
killed) is one mechanism for every cause: a deadline, a caller who has gone, a caller who cancels, the end of a drain.
Each of them answers the job and nothing more; an attempt whose last job has been answered is stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Final

from penstock.errors import (
    Cancelled as CancelledError,
)
from penstock.errors import (
    Draining,
    HandlerError,
    NotReady,
    PenstockError,
    QueueFull,
    WorkerLost,
)
from penstock.scheduler import commands as do
from penstock.scheduler import deadlines
from penstock.scheduler import events as on
from penstock.scheduler.deadlines import after, error_of, next_limit
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lanes import Lane, LaneSpec
from penstock.scheduler.retrying import error_unless_again, is_safe_again
from penstock.scheduler.states import ATTEMPT, DEAD, DRAINING, FINAL, JOB, QUEUED, READY, RUNNING, SENT, STARTING
from penstock.scheduler.timers import NEVER, Timed, Timers
from penstock.scheduler.workforce import (
    MAX_START_TRIES,
    STALL_SECONDS,
    Place,
    Pool,
    PoolSpec,
    Worker,
    restart_delay,
)

TEARDOWN_SECONDS: Final = 5.0
"""How long a worker that was told to stop may take for it."""

_CLOCK_SLACK: Final = 0.05
"""A worker's own cancel scope may end an attempt this much before the engine's timer for the same deadline."""


class _Drain(Timed):
    """The timer of the drain's end."""

    __slots__ = ()


class Scheduler:
    """See the module's text.

    Parameters
    ----------
    pools:
        The pools, each with its number of workers.
    lanes:
        The endpoints; each names its pool.
    """

    def __init__(self, pools: Iterable[PoolSpec], lanes: Iterable[LaneSpec]) -> None:
        self.pools = {spec.name: Pool(spec) for spec in pools}
        self.lanes = {spec.name: Lane(spec) for spec in lanes}
        for lane in self.lanes.values():
            self.pools[lane.pool_name].lanes.append(lane)
        self.workers: dict[int, Worker] = {}  # whose process has not been seen to exit
        self.attempts: dict[int, Attempt] = {}  # whose end has not been acknowledged
        self.jobs_live = 0  # admitted and not answered
        self.is_draining = False
        self.timers = Timers()
        self._drain = _Drain()
        self.now = 0.0
        self._out: list[do.Command] = []
        self._recalls: list[Worker] = []  # whose lines are to be asked back at the end of this turn
        self._sequence = count(1)
        self._worker_ids = count(1)
        self._attempt_ids = count(1)
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            on.Submitted: self._submitted,
            on.Cancelled: self._cancelled,
            on.ChunksArrived: self._chunks_arrived,
            on.ChunksTaken: self._chunks_taken,
            on.AttemptEnded: self._attempt_ended,
            on.Recalled: self._recalled,
            on.WorkerReady: self._worker_ready,
            on.WorkerExited: self._worker_exited,
            on.StartRequested: self._start_requested,
            on.LoadFailed: self._load_failed,
            on.DrainRequested: self._drain_requested,
            on.TimePassed: self._time_passed,
        }
        self._alarms: dict[type, Callable[[Any, float], None]] = {
            Job: self._job_due,
            Attempt: self._attempt_due,
            Lane: self._lane_due,
            Place: self._place_due,
            Worker: self._worker_due,
            _Drain: self._drain_due,
        }

    def __repr__(self) -> str:
        queued = sum(lane.queued for lane in self.lanes.values())
        state = "draining" if self.is_draining else "open"
        return f"<Scheduler {state}: {queued} queued, {len(self.attempts)} attempts, {len(self.workers)} workers>"

    # ---- what the engine calls

    def receive(self, event: on.Event, now: float) -> list[do.Command]:
        """Take in what happened at ``now``; return what is to be done about it, in order.

        Timers that are due by then go first, so that nothing is answered after its deadline however late the caller is.
        A ``now`` that lies before the last one counts as the last one.
        """
        if now < self.now:  # noqa: PLR1730 - max() is a call, and this is the hottest path
            now = self.now
        self.now = now
        heap = self.timers.heap
        if heap and heap[0][0] <= now:
            self._run_timers(now)
        self._handlers[type(event)](event, now)
        if self.is_draining:
            self._settle(now)
        if self._recalls:
            self._issue_recalls()
        out = self._out
        self._out = []
        return out

    def next_wakeup(self) -> float | None:
        """The instant by which ``receive`` must be called again, if nothing happens before; None if never."""
        when = self.timers.next()
        return None if when == NEVER else when

    def refusal(self, lane: Lane, size_bytes: int = 0) -> PenstockError | None:
        """Why a job of this size would not be admitted now, or None if it would."""
        if self.is_draining:
            return Draining("the server is shutting down")
        queue = lane.queue
        if len(queue.jobs) + lane.ahead >= lane.max_queue:
            return QueueFull(f"{lane.name}: {lane.queued} jobs are queued, which is its limit")
        if queue.size_bytes + size_bytes > lane.max_queue_bytes and queue.jobs:
            return QueueFull(f"{lane.name}: {queue.size_bytes} bytes are queued, and {size_bytes} more are too many")
        pool = self.pools[lane.pool_name]
        if pool.failure is not None:
            return NotReady(f"{lane.name}: pool {pool.name} could not be started")
        return None

    @property
    def is_drained(self) -> bool:
        """Whether a drain is over: nothing admitted is unanswered, and no worker is left."""
        return self.is_draining and not self.jobs_live and not self.workers

    def unready_reasons(self) -> list[str]:
        """Why work should not be sent here now; empty if it should."""
        reasons = ["draining"] if self.is_draining else []
        for pool in self.pools.values():
            if pool.failure is not None:
                reasons.append(f"pool {pool.name} has failed")
            elif not pool.is_ready:
                reasons.append(f"pool {pool.name} has no ready worker")
        return reasons

    def statistics(self) -> dict[str, Any]:
        """The state of everything, ready for JSON. Instants are those of ``now``, durations seconds."""
        return {
            "draining": self.is_draining,
            "jobs": self.jobs_live,
            "pools": {pool.name: pool.statistics() for pool in self.pools.values()},
            "endpoints": {lane.name: lane.statistics() for lane in self.lanes.values()},
        }

    def live_jobs(self) -> list[Job]:
        """The jobs that are admitted and not answered."""
        queued = [job for lane in self.lanes.values() for job in lane.queue]
        held = [job for attempt in self.attempts.values() for job in attempt.jobs if job.attempt is attempt]
        return queued + held

    # ---- jobs

    def _submitted(self, event: on.Submitted, now: float) -> None:
        job = event.job
        lane = job.lane
        job.arrived = now
        refusal = self.refusal(lane, job.size_bytes)
        if refusal is not None:
            self._refuse(job, refusal)
            return
        limits = job.timeouts
        job.admitted = True
        job.sequence = next(self._sequence)
        job.start_by = NEVER if limits.queue is None else now + limits.queue
        job.finish_by = NEVER if limits.total is None else now + limits.total
        self.jobs_live += 1
        lane.queue.push(job)
        if lane.batching is not None:
            when = lane.batch_due(job)
            if when < lane.due:
                self.timers.arm(lane, when)
        self._dispatch(self.pools[lane.pool_name], now)
        if job.state is QUEUED:
            self.timers.arm(job, min(job.start_by, job.finish_by))

    def _refuse(self, job: Job, refusal: PenstockError) -> None:
        """A refused request never becomes a job: it is in no count but that of the refusals."""
        job.state = JOB[job.state]["fail"]
        job.outcome = refusal
        job.answered = job.arrived
        job.lane.outcomes[refusal.code] += 1
        self._out.append(do.Answer(job))

    def _cancelled(self, event: on.Cancelled, now: float) -> None:
        job = event.job
        if job.admitted and job.state not in FINAL:
            self._answer(job, "cancel", CancelledError(event.reason), now)
            self._dispatch(self.pools[job.lane.pool_name], now)  # it may have been what the others waited behind

    def _job_due(self, job: Job, now: float) -> None:
        when, limit = next_limit(job)
        if when <= now:
            self._expire(job, limit, now)
        else:
            self.timers.arm(job, when)

    def _expire(self, job: Job, limit: str, now: float) -> None:
        happening = "cancel" if limit == deadlines.UNREAD else "expire"
        self._answer(job, happening, error_of(job, limit), now, limit)

    def _answer(self, job: Job, happening: str, outcome: Any, now: float, why: str = "") -> None:
        """Decide the job. If that leaves its attempt with nobody who waits for it, stop the attempt."""
        lane = job.lane
        attempt = job.attempt
        if attempt is None:
            lane.queue.remove(job)
            if lane.batching is not None:
                self._plan_next_batch(lane, now)
        else:
            job.attempt = None
            attempt.live -= 1
            if job.state is RUNNING:
                lane.running -= 1
            else:
                lane.ahead -= 1
        job.state = JOB[job.state][happening]
        job.outcome = outcome
        job.answered = now
        self.timers.disarm(job)
        self.jobs_live -= 1
        lane.record(job, outcome.code if isinstance(outcome, PenstockError) else "ok")
        self._out.append(do.Answer(job))
        if attempt is not None and not attempt.live:
            if attempt.state is RUNNING:
                self._stop(attempt, job, why or happening, now)
            elif attempt.state is SENT:
                self._recall(attempt.worker)

    # ---- streams

    def _chunks_arrived(self, event: on.ChunksArrived, now: float) -> None:
        attempt = self.attempts.get(event.attempt)
        if attempt is None or not attempt.live:
            return
        (job,) = attempt.jobs  # a stream is never batched
        is_first = not job.chunks
        if not job.untaken:
            job.progressed = now
        job.chunks += event.count
        job.untaken += event.count
        if is_first:
            self.timers.arm(job, next_limit(job)[0])

    def _chunks_taken(self, event: on.ChunksTaken, now: float) -> None:
        job = event.job
        if event.count:  # taking nothing must not put off the limit on the model's silence
            job.untaken -= event.count
            job.progressed = now

    # ---- attempts

    def _dispatch(self, pool: Pool, now: float) -> None:
        """Give work to the pool's workers while there is some of each.

        Strictly in order of arrival, over all lanes of the pool: an attempt that needs a whole worker is not overtaken
        by small ones that would keep every worker partly busy for ever.
        """
        while True:
            job = pool.next_job(now)
            if job is None:
                return
            # A suspect gets a worker to itself, so that it cannot take others with it.
            units = pool.capacity if job.deaths else job.lane.units
            worker = pool.find_worker(units)
            if worker is not None:
                self._begin(self._send(job.lane, worker, units, now), now)
            elif job.deaths or (worker := pool.find_line(job.lane)) is None:
                return
            else:
                self._send_ahead(job.lane, worker, units, now)

    def _send(self, lane: Lane, worker: Worker, units: int, now: float) -> Attempt:
        jobs = lane.take()
        attempt = Attempt(next(self._attempt_ids), worker, jobs, units, now)
        self.attempts[attempt.id] = attempt
        for job in jobs:
            job.attempt = attempt
        if lane.batching is not None:
            self._plan_next_batch(lane, now)
        self._out.append(do.Send(worker.id, attempt))
        return attempt

    def _begin(self, attempt: Attempt, now: float) -> None:
        """The attempt has its worker's attention from now on."""
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
                self.timers.arm(job, next_limit(job)[0])
        if not attempt.live:  # given up while it stood in the line, and begun all the same
            self._stop(attempt, attempt.jobs[0], "cancel", now)

    # ---- sending ahead

    def _send_ahead(self, lane: Lane, worker: Worker, units: int, now: float) -> None:
        """Put an attempt into the line of a worker that is about to be free."""
        lane.ahead += 1
        if not worker.line:
            self.timers.arm(worker, now + STALL_SECONDS)
        worker.line.append(self._send(lane, worker, units, now))

    def _begin_next(self, worker: Worker, now: float) -> None:
        """What ran has ended, so the worker has begun the first of its line."""
        attempt = worker.line.popleft()
        attempt.lane.ahead -= attempt.live
        self._begin(attempt, now)
        if worker.line:
            self.timers.arm(worker, now + STALL_SECONDS)
        else:
            worker.due = NEVER

    def _recall(self, worker: Worker) -> None:
        """Ask for what the worker has not begun: one of its line is not wanted any more, or all wait for too long."""
        if worker.line and worker.line[-1].id > worker.recalled and worker not in self._recalls:
            self._recalls.append(worker)

    def _issue_recalls(self) -> None:
        """Last of all, so that nothing is on its way to the worker that the recall does not name."""
        for worker in self._recalls:
            if worker.line:  # else it was begun or lost in this same turn
                worker.recalled = worker.line[-1].id
                worker.is_recalled = True
                self._out.append(do.Recall(worker.id, worker.recalled))
        self._recalls.clear()

    def _recalled(self, event: on.Recalled, now: float) -> None:
        worker = self.workers.get(event.worker)
        if worker is None or not worker.line:
            return
        while worker.line and worker.line[-1].id > event.started:
            self._take_back(worker.line.pop(), "recall")
        if worker.line:  # it has begun these: what it says of the one before them is on its way
            self.timers.arm(worker, now + STALL_SECONDS)
        else:
            worker.due = NEVER
        self._dispatch(worker.pool, now)

    def _take_back(self, attempt: Attempt, happening: str) -> None:
        """The attempt was never begun: its job is where it was before."""
        del self.attempts[attempt.id]
        attempt.state = ATTEMPT[attempt.state][happening]
        for job in attempt.jobs:
            if job.attempt is attempt:
                job.attempt = None
                job.lane.ahead -= 1
                job.lane.queue.push_front(job)

    def _plan_next_batch(self, lane: Lane, now: float) -> None:
        when = lane.next_batch_due()
        if when <= now:
            lane.due = when  # overdue already: it goes as soon as a worker is free, and needs no timer
        else:
            self.timers.arm(lane, when)

    def _lane_due(self, lane: Lane, now: float) -> None:
        lane.due = now  # overdue, until a worker is free

    def _attempt_ended(self, event: on.AttemptEnded, now: float) -> None:
        attempt = self.attempts.get(event.attempt)
        if attempt is None:
            return  # its worker was killed or lost, and everything it owed has been settled then
        if len(event.results) != len(attempt.jobs):
            raise ValueError(f"{attempt!r} has ended with {len(event.results)} results")
        del self.attempts[attempt.id]
        if attempt.entry is not None:
            self.timers.disarm(attempt)
        attempt.state = ATTEMPT[attempt.state]["finish"]
        for position, job in enumerate(attempt.jobs):
            if job.attempt is attempt:
                result = event.results[position]
                if result is on.NOT_BEGUN:
                    self._unbegin(job, now)
                    continue
                job.execution_seconds = event.seconds
                if isinstance(result, PenstockError):
                    self._fail(job, result, now)
                else:
                    self._answer(job, "succeed", result, now)
        if attempt.lane.may_send_ahead and event.results[0] is not on.NOT_BEGUN:
            attempt.lane.learn(event.seconds)
        worker = attempt.worker
        worker.place.failures = 0
        worker.give_back(attempt, now)
        if worker.line:
            self._begin_next(worker, now)
        if worker.state is DRAINING:
            self._retire_when_done(worker, now)
        self._dispatch(worker.pool, now)

    def _fail(self, job: Job, error: PenstockError, now: float) -> None:
        if isinstance(error, CancelledError):
            # Nobody here has asked for it: the worker's own cancel scope was a moment faster than our timer.
            when, limit = next_limit(job)
            if when - now <= _CLOCK_SLACK:
                self._expire(job, limit, now)
                return
            error = HandlerError(f"{job.lane.name}: the handler cancelled itself", exception_type="Cancelled")
        self._answer(job, "fail", error, now)

    def _stop(self, attempt: Attempt, job: Job, why: str, now: float) -> None:
        """Nobody waits for it: ask the user's code to stop, and give it ``grace`` for that."""
        attempt.state = ATTEMPT[attempt.state]["stop"]
        self._recall(attempt.worker)  # those in the line must not wait for the grace
        self._out.append(do.Interrupt(attempt.worker.id, attempt.id))
        self._report("interrupt", attempt=attempt, job=job, why=why)
        self.timers.arm(attempt, now + attempt.lane.timeouts.grace)

    def _attempt_due(self, attempt: Attempt, now: float) -> None:
        """The grace is over, and the user's code has not stopped."""
        worker = attempt.worker
        self._report("overstayed", attempt=attempt)
        if attempt.lane.is_interruptible:
            self._kill(worker, now, f"attempt {attempt.id} of {attempt.lane.name} did not stop when interrupted")
            return
        # A thread cannot be interrupted, and what runs beside it is healthy: that may finish first.
        worker.move("drain", now)
        self._retire_when_done(worker, now)

    def _retire_when_done(self, worker: Worker, now: float) -> None:
        """A worker that takes nothing new is ended once nobody waits for anything in it."""
        if not worker.attempts:
            self._stop_worker(worker, now)
        elif all(not attempt.live and attempt.due == NEVER for attempt in worker.attempts.values()):
            self._kill(worker, now, "only attempts that did not stop are left in it")

    # ---- workers

    def _start_requested(self, _event: on.StartRequested, now: float) -> None:
        for pool in self.pools.values():
            for place in pool.places:
                self._start_worker(place, now)

    def _place_due(self, place: Place, now: float) -> None:
        if place.pool.failure is None and (not self.is_draining or place.pool.has_queued):
            self._start_worker(place, now)

    def _load_failed(self, event: on.LoadFailed, now: float) -> None:
        for pool in self.pools.values():
            self._fail_pool(pool, event.error, now)

    def _start_worker(self, place: Place, now: float) -> None:
        worker = Worker(next(self._worker_ids), place, now)
        place.worker = worker
        self.workers[worker.id] = worker
        self._out.append(do.StartWorker(worker.id, place.pool.name, place.index))

    def _worker_ready(self, event: on.WorkerReady, now: float) -> None:
        worker = self.workers.get(event.worker)
        if worker is None or worker.state is DEAD:
            return  # killed in the same moment
        started = worker.since
        worker.move("be ready", now)
        pool = worker.pool
        self._report("worker-ready", worker=worker, seconds=event.seconds)
        if not pool.was_ready:
            pool.was_ready = True
            # The import counts as well: this is how long an operator has waited.
            self._report("pool-ready", pool=pool, seconds=now - started)
        self._dispatch(pool, now)

    def _worker_exited(self, event: on.WorkerExited, now: float) -> None:
        worker = self.workers.pop(event.worker, None)
        if worker is None:
            return
        self.timers.disarm(worker)
        place = worker.place
        place.worker = None
        state = worker.state
        if state is DRAINING and not worker.attempts:
            worker.move("exit", now)
        elif state is not DEAD:
            place.failures += 1
            worker.move("die", now)
            held = list(worker.attempts.values())
            self._report("worker-lost", worker=worker, was=state, attempts=held, reason=event.reason, error=event.error)
            self._lose_attempts(worker, now, event.started)
        if not self.is_draining or place.pool.has_queued:
            self._replace(place, event.error, now)
        self._dispatch(place.pool, now)

    def _replace(self, place: Place, error: str, now: float) -> None:
        pool = place.pool
        if place.failures >= MAX_START_TRIES and not pool.was_ready:
            self._fail_pool(pool, error, now)
        if pool.failure is not None:
            self._answer_stranded(pool, now)
            return
        delay = restart_delay(place.failures)
        place.restarts += 1
        self._report("restart", place=place, delay=delay)
        if delay:
            self.timers.arm(place, now + delay)
        else:
            self._start_worker(place, now)

    def _fail_pool(self, pool: Pool, error: str, now: float) -> None:
        if pool.failure is not None:
            return
        pool.failure = error or "its workers end before they are ready"
        self._report("pool-failed", pool=pool, error=pool.failure)
        self._answer_stranded(pool, now)

    def _answer_stranded(self, pool: Pool, now: float) -> None:
        """Nothing starts in a pool that has failed, but workers that it still has finish what is queued."""
        if pool.is_ready:
            return
        for lane in pool.lanes:
            sentence = f"{lane.name}: pool {pool.name} could not be started"
            for job in list(lane.queue):
                error = WorkerLost(sentence, retryable=True) if job.attempts else NotReady(sentence)
                self._answer(job, "fail", error, now)

    def _kill(self, worker: Worker, now: float, reason: str) -> None:
        """End the process. Whoever is still waited for in it is innocent of that."""
        worker.move("die", now)
        self._out.append(do.Kill(worker.id))
        self._report("kill", worker=worker, attempts=list(worker.attempts.values()), reason=reason)
        self.timers.disarm(worker)
        self._lose_attempts(worker, now, started=0)

    def _lose_attempts(self, worker: Worker, now: float, started: int | None) -> None:
        """Settle what a worker that is gone still owed. ``started`` as in ``WorkerExited``; 0 spares all."""
        while worker.line:
            waiting = worker.line.pop()
            self._take_back(waiting, "lose")
            if waiting.id == started:
                self._blame(waiting, now)
        attempts = list(worker.attempts.values())
        worker.attempts.clear()
        for attempt in reversed(attempts):
            del self.attempts[attempt.id]
            self.timers.disarm(attempt)
            attempt.state = ATTEMPT[attempt.state]["lose"]
            is_innocent = started is not None and attempt.id != started
            for job in reversed(attempt.jobs):
                if job.attempt is attempt:
                    self._lose(job, now, is_innocent=is_innocent)

    def _blame(self, attempt: Attempt, now: float) -> None:
        """The worker had begun this attempt of its line, and died, before anybody could see that it had begun."""
        for job in attempt.jobs:
            if job.state is QUEUED:
                job.started = now
                job.attempts += 1
                job.spent += 1
                job.deaths += 1
                self._restart_queue_time(job, now)
                error = error_unless_again(job, now)
                if error is not None:
                    self._answer(job, "fail", error, now)

    def _unbegin(self, job: Job, now: float) -> None:
        """The worker was told to give the attempt back when it was about to begin it: the handler has not seen it."""
        job.attempts -= 1
        job.spent -= 1
        self._requeue(job, now)

    def _lose(self, job: Job, now: float, *, is_innocent: bool) -> None:
        """The job's worker is gone: queue the job again if that is safe and allowed, else answer it."""
        if is_innocent:
            job.spent -= 1
        else:
            job.deaths += 1
        error = error_unless_again(job, now)
        if error is None:
            self._requeue(job, now)
        else:
            self._answer(job, "fail", error, now)

    def _requeue(self, job: Job, now: float) -> None:
        attempt = job.attempt
        assert attempt is not None
        lane = job.lane
        attempt.live -= 1
        lane.running -= 1
        job.attempt = None
        job.state = JOB[job.state]["requeue"]
        lane.queue.push_front(job)
        self._restart_queue_time(job, now)
        if lane.batching is not None:
            self._plan_next_batch(lane, now)

    def _restart_queue_time(self, job: Job, now: float) -> None:
        job.start_by = after(now, job.timeouts.queue)
        self.timers.arm(job, min(job.start_by, job.finish_by))

    def _stop_worker(self, worker: Worker, now: float) -> None:
        self._out.append(do.StopWorker(worker.id))
        self.timers.arm(worker, now + TEARDOWN_SECONDS)

    def _worker_due(self, worker: Worker, now: float) -> None:
        if worker.line:
            self._recall(worker)
        elif worker.state is DRAINING:
            self._kill(worker, now, f"its tear-down took longer than {TEARDOWN_SECONDS:g} s")

    # ---- drain

    def _drain_requested(self, event: on.DrainRequested, now: float) -> None:
        if self.is_draining:
            return
        self.is_draining = True
        self._report("drain", jobs=self.jobs_live, seconds=event.deadline - now)
        self.timers.arm(self._drain, event.deadline)

    def _drain_due(self, _drain: _Drain, now: float) -> None:
        """Patience has ended: what is left is answered, and stopped by the ladder."""
        self._report("drain-timeout", jobs=self.jobs_live)
        for lane in self.lanes.values():
            for job in list(lane.queue):
                self._give_up(job, now)
        for attempt in list(self.attempts.values()):
            for job in attempt.jobs:
                if job.attempt is attempt:
                    self._give_up(job, now)

    def _give_up(self, job: Job, now: float) -> None:
        refusal = Draining("the server is shutting down", retryable=is_safe_again(job))
        self._answer(job, "cancel", refusal, now, "drain")

    def _settle(self, now: float) -> None:
        """While draining: let the workers go that have nothing left to do."""
        for worker in list(self.workers.values()):
            if worker.pool.has_queued:
                continue
            if worker.state is READY:
                worker.move("drain", now)
                self._stop_worker(worker, now)
            elif worker.state is STARTING:
                self._kill(worker, now, "drained before it was ready")

    # ---- the rest

    def _time_passed(self, _event: on.TimePassed, now: float) -> None:
        """The timers have run; nothing else has happened."""

    def _run_timers(self, now: float) -> None:
        while (owner := self.timers.pop_due(now)) is not None:
            self._alarms[type(owner)](owner, now)
        # Only now: while timers are left that are due, the queues hold jobs whose time is over.
        for pool in self.pools.values():
            self._dispatch(pool, now)

    def _report(self, event: str, **fields: Any) -> None:
        self._out.append(do.Report(event, fields))
