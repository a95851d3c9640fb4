"""The workers: how they are started, ended and replaced."""

from __future__ import annotations

from typing import Final

from penstock.errors import NotReady, WorkerLost
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.answers import Answers
from penstock.scheduler.dispatch import Dispatch
from penstock.scheduler.jobs import Attempt
from penstock.scheduler.losses import Losses
from penstock.scheduler.pools import MAX_START_TRIES, Place, Worker, WorkerPool, restart_delay
from penstock.scheduler.sending_ahead import Lines
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import DEAD, DRAINING
from penstock.scheduler.timers import NEVER

TEARDOWN_SECONDS: Final = 5.0
"""How long a worker that was told to stop may take for it."""


class Supervision:
    """Keeps a worker in every place, for as long as that makes sense."""

    __slots__ = ("_answers", "_desk", "_dispatch", "_lines", "_losses")

    def __init__(
        self, desk: SchedulerState, lines: Lines, answers: Answers, losses: Losses, dispatch: Dispatch
    ) -> None:
        self._desk = desk
        self._lines = lines
        self._answers = answers
        self._losses = losses
        self._dispatch = dispatch

    # ---- beginnings

    def on_start_requested(self, _event: on.StartRequested, now: float) -> None:
        """Fill all places."""
        for pool in self._desk.pools.values():
            for place in pool.places:
                self._start_worker(place, now)

    def on_place_due(self, place: Place, now: float) -> None:
        """The back-off before the next start is over."""
        if place.pool.failure is None and (not self._desk.is_draining or place.pool.has_queued):
            self._start_worker(place, now)

    def on_load_failed(self, event: on.ImportFailed, now: float) -> None:
        """There will be no workers any more."""
        for pool in self._desk.pools.values():
            self._fail_pool(pool, event.error, now)

    def _start_worker(self, place: Place, now: float) -> None:
        worker = Worker(next(self._desk.worker_ids), place, now)
        place.worker = worker
        self._desk.workers[worker.id] = worker
        self._desk.out.append(do.StartWorker(worker.id, place.pool.name, place.index))

    def on_worker_ready(self, event: on.SetupFinished, now: float) -> None:
        """It may take work."""
        worker = self._desk.workers.get(event.worker)
        if worker is None or worker.state is DEAD:
            return  # killed in the same moment
        started = worker.since
        worker.move("be ready", now)
        pool = worker.pool
        self._desk.report("worker-ready", worker=worker, seconds=event.seconds)
        if not pool.was_ready:
            pool.was_ready = True
            # The import counts as well: this is how long an operator has waited.
            self._desk.report("pool-ready", pool=pool, seconds=now - started)
        self._dispatch.dispatch(pool, now)

    def on_recalled(self, event: on.Recalled, now: float) -> None:
        """What a worker has given back goes to whoever is free."""
        worker = self._losses.accept(event, now)
        if worker is not None:
            self._dispatch.dispatch(worker.pool, now)

    # ---- ends

    def on_worker_exited(self, event: on.WorkerExited, now: float) -> None:
        """Its process is gone, whether we wanted that or not."""
        desk = self._desk
        worker = desk.workers.pop(event.worker, None)
        if worker is None:
            return
        desk.timers.disarm(worker)
        place = worker.place
        place.worker = None
        state = worker.state
        if state is DRAINING and not worker.attempts:
            worker.move("exit", now)
        elif state is not DEAD:
            place.failures += 1
            worker.move("die", now)
            held = list(worker.attempts.values())
            desk.report("worker-lost", worker=worker, was=state, attempts=held, reason=event.reason, error=event.error)
            self._losses.lose_attempts(worker, now, event.started)
        if not desk.is_draining or place.pool.has_queued:
            self._replace(place, event.error, now)
        self._dispatch.dispatch(place.pool, now)

    def _replace(self, place: Place, error: str, now: float) -> None:
        pool = place.pool
        if place.failures >= MAX_START_TRIES and not pool.was_ready:
            self._fail_pool(pool, error, now)
        if pool.failure is not None:
            self._answer_stranded(pool, now)
            return
        delay = restart_delay(place.failures)
        place.restarts += 1
        self._desk.report("restart", place=place, delay=delay)
        if delay:
            self._desk.timers.arm(place, now + delay)
        else:
            self._start_worker(place, now)

    def _fail_pool(self, pool: WorkerPool, error: str, now: float) -> None:
        if pool.failure is not None:
            return
        pool.failure = error or "its workers end before they are ready"
        self._desk.report("pool-failed", pool=pool, error=pool.failure)
        self._answer_stranded(pool, now)

    def _answer_stranded(self, pool: WorkerPool, now: float) -> None:
        """Nothing starts in a pool that has failed, but workers that it still has finish what waits."""
        if pool.is_ready:
            return
        for lane in pool.lanes:
            sentence = f"{lane.name}: pool {pool.name} could not be started"
            for job in lane.waiting():
                lost = WorkerLost(sentence, retryable=True) if job.attempts else NotReady(sentence)
                self._answers.answer(job, "fail", job.failure or lost, now)

    # ---- the last steps of the ladder

    def on_attempt_due(self, attempt: Attempt, now: float) -> None:
        """The grace is over, and the user's code has not stopped."""
        worker = attempt.worker
        self._desk.report("overstayed", attempt=attempt)
        if attempt.lane.is_interruptible:
            self.kill(worker, now, f"attempt {attempt.id} of {attempt.lane.name} did not stop when interrupted")
            return
        # A thread cannot be interrupted, and what runs beside it is healthy: that may finish first.
        worker.move("drain", now)
        self.retire_when_done(worker, now)

    def retire_when_done(self, worker: Worker, now: float) -> None:
        """A worker that takes nothing new is ended once nobody waits for anything in it."""
        if not worker.attempts:
            self.stop_worker(worker, now)
        elif all(not attempt.live and attempt.due == NEVER for attempt in worker.attempts.values()):
            self.kill(worker, now, "only attempts that did not stop are left in it")

    def kill(self, worker: Worker, now: float, reason: str) -> None:
        """End the process. Whoever is still waited for in it is innocent of that."""
        worker.move("die", now)
        self._desk.out.append(do.Kill(worker.id))
        self._desk.report("kill", worker=worker, attempts=list(worker.attempts.values()), reason=reason)
        self._desk.timers.disarm(worker)
        self._losses.lose_attempts(worker, now, started=0)

    def stop_worker(self, worker: Worker, now: float) -> None:
        """Let an idle worker tear down and exit."""
        self._desk.out.append(do.StopWorker(worker.id))
        self._desk.timers.arm(worker, now + TEARDOWN_SECONDS)

    def on_worker_due(self, worker: Worker, now: float) -> None:
        """Its line has waited for too long, or its tear-down takes too long."""
        if worker.line:
            self._lines.recall(worker)
        elif worker.state is DRAINING:
            self.kill(worker, now, f"its tear-down took longer than {TEARDOWN_SECONDS:g} s")
