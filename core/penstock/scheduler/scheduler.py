"""The scheduler: events in, commands out, and the instant at which it wants to be called again.

It is the only thing that changes the state of jobs, attempts, workers and queues, and it has no clock, socket, thread
or randomness of its own: ``now`` is an argument, an instant of a monotonic clock. Each event costs O(log n) or less in
the number of queued jobs. The rules that hold after every step are in ``penstock.testing.invariants``.

The ladder by which a slot is taken back (queued: removed; running: interrupted; not acknowledged within ``grace``:
killed) is one mechanism for every cause: a deadline, a caller who has gone, a caller who cancels, the end of a drain.
Each of them answers the job and nothing more; an attempt whose last job has been answered is stopped.

Here is the table of events. What each of them does is in the parts, which share one record (``desk``), and of which
each knows only those before it::

    lines         who is asked to give back what was sent ahead
    answers       a job is decided; what nobody waits for is stopped
    again         a job has failed: it is queued again, at once or after a while, or answered
    losses        a worker is gone, or gives work back
    dispatch      work is given to workers
    supervision   workers are started, ended and replaced
    attempts      results and chunks come in
    intake        jobs come in, or not
    drain         everything comes to its end
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from penstock.errors import PenstockError
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.admission import Intake
from penstock.scheduler.answers import Answers
from penstock.scheduler.dispatch import Dispatch
from penstock.scheduler.drain import Drain
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lanes import Lane, LaneSpec
from penstock.scheduler.losses import Losses
from penstock.scheduler.pools import Place, PoolSpec, Worker
from penstock.scheduler.requeueing import Again
from penstock.scheduler.results import Attempts
from penstock.scheduler.sending_ahead import Lines
from penstock.scheduler.shared_state import SchedulerState
from penstock.scheduler.states import DRAINING, PAUSED
from penstock.scheduler.supervision import Supervision
from penstock.scheduler.timers import NEVER


class Scheduler:
    """See the module's text.

    Parameters
    ----------
    pools:
        The pools, each with its number of workers.
    lanes:
        The endpoints; each names its pool.

    Attributes
    ----------
    pools, lanes:
        By name.
    workers, attempts:
        By id: those whose process has not been seen to exit; those whose end has not been acknowledged.
    timers:
        All deadlines.
    desk:
        What the parts share. Nobody else writes to it.
    """

    def __init__(self, pools: Iterable[PoolSpec], lanes: Iterable[LaneSpec]) -> None:
        self.desk = desk = SchedulerState(pools, lanes)
        self.pools = desk.pools
        self.lanes = desk.lanes
        self.workers = desk.workers
        self.attempts = desk.attempts
        self.timers = desk.timers
        self._lines = Lines(desk)
        answers = Answers(desk, self._lines)
        again = Again(desk, answers)
        losses = Losses(desk, self._lines, answers, again)
        self._dispatch = Dispatch(desk, self._lines, answers)
        supervision = Supervision(desk, self._lines, answers, losses, self._dispatch)
        attempts = Attempts(desk, answers, again, self._dispatch, supervision)
        self._intake = Intake(desk, answers, self._dispatch)
        self._drain = Drain(desk, answers, supervision)
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            on.Submitted: self._intake.on_submitted,
            on.CancelRequested: self._intake.on_cancelled,
            on.ChunksArrived: attempts.on_chunks_arrived,
            on.ChunksTaken: attempts.on_chunks_taken,
            on.ResultsArrived: attempts.on_attempt_ended,
            on.Recalled: supervision.on_recalled,
            on.SetupFinished: supervision.on_worker_ready,
            on.WorkerExited: supervision.on_worker_exited,
            on.StartRequested: supervision.on_start_requested,
            on.ImportFailed: supervision.on_load_failed,
            on.PauseRequested: self._intake.on_pause_requested,
            on.ResumeRequested: self._intake.on_resume_requested,
            on.DrainRequested: self._drain.on_requested,
            on.TimePassed: self._time_passed,
        }
        self._alarms: dict[type, Callable[[Any, float], None]] = {
            Job: again.on_job_due,
            Attempt: supervision.on_attempt_due,
            Lane: self._dispatch.on_lane_due,
            Place: supervision.on_place_due,
            Worker: supervision.on_worker_due,
            Drain: self._drain.on_due,
        }

    def __repr__(self) -> str:
        queued = sum(lane.queued for lane in self.lanes.values())
        intake, attempts, workers = self.desk.intake, len(self.attempts), len(self.workers)
        return f"<Scheduler {intake}: {queued} queued, {attempts} attempts, {workers} workers>"

    # ---- what the engine calls

    def receive(self, event: on.Event, now: float) -> list[do.Command]:
        """Take in what happened at ``now``; return what is to be done about it, in order.

        Timers that are due by then go first, so that nothing is answered after its deadline however late the caller is.
        A ``now`` that lies before the last one counts as the last one.
        """
        desk = self.desk
        if now < desk.now:  # noqa: PLR1730 - max() is a call, and this is the hottest path
            now = desk.now
        desk.now = now
        heap = self.timers.heap
        if heap and heap[0][0] <= now:
            self._run_timers(now)
        self._handlers[type(event)](event, now)
        if desk.intake is DRAINING:
            self._drain.settle(now)
        if desk.to_recall:
            self._lines.issue_recalls()
        out = desk.out
        desk.out = []
        return out

    def next_wakeup(self) -> float | None:
        """The instant by which ``receive`` must be called again, if nothing happens before; None if never."""
        when = self.timers.next()
        return None if when == NEVER else when

    def refusal(self, lane: Lane, size_bytes: int = 0) -> PenstockError | None:
        """Why a job of this size would not be admitted now, or None if it would."""
        return self._intake.refusal(lane, size_bytes)

    @property
    def now(self) -> float:
        """The instant of the last event."""
        return self.desk.now

    @property
    def jobs_live(self) -> int:
        """How many jobs are admitted and not answered."""
        return self.desk.jobs_live

    @property
    def is_draining(self) -> bool:
        """Whether a drain has begun: nothing new is taken."""
        return self.desk.is_draining

    @property
    def is_paused(self) -> bool:
        """Whether nothing new is taken until further notice."""
        return self.desk.intake is PAUSED

    @property
    def is_drained(self) -> bool:
        """Whether a drain is over: nothing admitted is unanswered, and no worker is left."""
        return self.is_draining and not self.desk.jobs_live and not self.workers

    def unready_reasons(self) -> list[str]:
        """Why work should not be sent here now; empty if it should."""
        reasons = {DRAINING: ["draining"], PAUSED: ["taken out of rotation"]}.get(self.desk.intake, [])
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
        waiting = [job for lane in self.lanes.values() for job in lane.waiting()]
        held = [job for attempt in self.attempts.values() for job in attempt.jobs if job.attempt is attempt]
        return waiting + held

    # ---- time

    def _time_passed(self, _event: on.TimePassed, now: float) -> None:
        """The timers have run; nothing else has happened."""

    def _run_timers(self, now: float) -> None:
        while (owner := self.timers.pop_due(now)) is not None:
            self._alarms[type(owner)](owner, now)
        # Only now: while timers are left that are due, the queues hold jobs whose time is over.
        for pool in self.pools.values():
            self._dispatch.dispatch(pool, now)
