"""The scheduler: events in, commands out, and the instant at which it must be called again.

It is the only code that changes the state of jobs, attempts, workers and queues. It has no clock, socket, thread or
randomness of its own: ``now`` is an argument, an instant of a monotonic clock. Each event costs O(log n) or less in the
number of queued jobs. The invariants that hold after every step are in ``penstock.testing.invariants``.

The ladder that takes a slot back (queued: removed; running: interrupted; not acknowledged within ``grace``: killed) is
one mechanism for every cause: a deadline, a caller who has gone, a caller who cancels, the end of a drain. Each of them
answers the job and does nothing more; an attempt whose last job has been answered is stopped.

This module is the table of events. Their effects are functions over one ``SchedulerState``, in modules of which each
imports only those above it::

    shared_state    pools, lanes, workers, attempts, and the decisions of the turn
    answers         a job is answered; an attempt that no caller waits for is stopped
    retries         a failed job is queued again, at once or later, or answered
    sending_ahead   short jobs are sent to busy workers early, and recalled
    dispatch        the next job is chosen, and the worker that runs it
    endings         workers are stopped and killed; lost work is settled
    recycling       workers become due to be replaced, although they have not failed
    staffing        workers are started, replaced, and take over from each other; pools grow and shrink
    supervision     what is reported about workers; the last steps of the ladder
    results         results and chunks arrive
    admission       jobs are admitted or refused
    drain           everything comes to its end

``conduct`` changes nothing: it says which reports of a worker can be true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from penstock.errors import PenstockError
from penstock.scheduler import (
    admission,
    drain,
    recycling,
    results,
    retries,
    sending_ahead,
    spare_slots,
    staffing,
    supervision,
)
from penstock.scheduler import commands as do
from penstock.scheduler import dispatch as dispatching
from penstock.scheduler import events as on
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lanes import Lane, LaneSpec
from penstock.scheduler.pools import AgeTimer, Place, PoolSpec, Worker
from penstock.scheduler.reports import CountsReport
from penstock.scheduler.shared_state import DrainTimer, SchedulerState
from penstock.scheduler.states import DRAINING, PAUSED, STARTING
from penstock.scheduler.timers import NEVER

Handler = Callable[[SchedulerState, Any, float], None]


class Scheduler:
    """The table of events, over one state.

    Parameters
    ----------
    pools:
        The pools, each with its number of workers.
    lanes:
        The endpoints; each names its pool.
    max_queue_bytes:
        The bound on the bodies that wait for a worker in all lanes, together with the large ones that are arriving. One
        body of any size is accepted.
    draw:
        Returns a random number from 0 to 1, which spreads the limits of workers. Default: it does not.

    Attributes
    ----------
    pools, lanes:
        By name.
    workers, attempts:
        By id: workers whose process has not been seen to exit; attempts whose end has not been acknowledged.
    timers:
        All deadlines.
    state:
        The state that the parts share. Read-only for all others.
    """

    def __init__(
        self,
        pools: Iterable[PoolSpec],
        lanes: Iterable[LaneSpec],
        *,
        max_queue_bytes: int = admission.DEFAULT_MAX_QUEUE_BYTES,
        draw: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.state = state = SchedulerState(pools, lanes, max_queue_bytes, draw)
        self.pools = state.pools
        self.lanes = state.lanes
        self.workers = state.workers
        self.attempts = state.attempts
        self.timers = state.timers
        self._on_event: dict[type, Handler] = {
            on.Submitted: admission.on_submitted,
            on.UploadBegan: admission.on_upload_began,
            on.UploadEnded: admission.on_upload_ended,
            on.CancelRequested: admission.on_cancel_requested,
            on.PauseRequested: admission.on_pause_requested,
            on.ResumeRequested: admission.on_resume_requested,
            on.ResultsArrived: results.on_results_arrived,
            on.Recalled: results.on_recalled,
            on.StreamBegan: results.on_stream_began,
            on.ChunksArrived: results.on_chunks_arrived,
            on.ChunksTaken: results.on_chunks_taken,
            on.StartRequested: staffing.on_start_requested,
            on.SetupFinished: supervision.on_setup_finished,
            on.WorkersDied: supervision.on_workers_died,
            on.WorkerExited: supervision.on_worker_exited,
            on.WorkerSuspended: supervision.on_worker_suspended,
            on.ProtocolBroken: supervision.on_protocol_broken,
            on.ImportFailed: staffing.on_import_failed,
            on.MemoryMeasured: recycling.on_memory_measured,
            on.CheckFailed: recycling.on_check_failed,
            on.ScaleRequested: staffing.on_scale_requested,
            on.DrainRequested: drain.on_drain_requested,
            on.TimePassed: _time_passed,
        }
        self._on_due: dict[str, Handler] = {
            Job.timer_kind: retries.on_job_due,
            Attempt.timer_kind: supervision.on_attempt_due,
            Lane.timer_kind: dispatching.on_lane_due,
            Worker.timer_kind: supervision.on_worker_due,
            AgeTimer.timer_kind: recycling.on_age_due,
            Place.timer_kind: staffing.on_place_due,
            DrainTimer.timer_kind: drain.on_drain_due,
        }

    def __repr__(self) -> str:
        queued = sum(lane.queued for lane in self.lanes.values())
        intake, attempts, workers = self.state.intake, len(self.attempts), len(self.workers)
        return f"<Scheduler {intake}: {queued} queued, {attempts} attempts, {workers} workers>"

    def receive(self, event: on.Event, now: float) -> list[do.Command]:
        """Process an event that happened at ``now``; return the commands that follow from it, in order.

        Timers that are due by then go first, so that nothing is answered after its deadline, however late the caller
        is. A ``now`` before the previous one counts as the previous one.
        """
        state = self.state
        if now < state.now:  # noqa: PLR1730 - max() is a call, and this is the hottest path
            now = state.now
        state.now = now
        heap = self.timers.heap
        if heap and heap[0][0] <= now:
            self._run_timers(now)
        self._on_event[type(event)](state, event, now)
        if state.to_staff:
            staffing.settle(state, now)
        if state.intake is DRAINING:
            drain.settle(state, now)
        if state.to_recall:
            sending_ahead.issue_recalls(state)
        out = state.out
        state.out = []
        return out

    def _run_timers(self, now: float) -> None:
        while (owner := self.timers.pop_due(now)) is not None:
            self._on_due[owner.timer_kind](self.state, owner, now)
        # Only now: until all due timers have run, the queues hold jobs whose time is over.
        for pool in self.pools.values():
            dispatching.dispatch(self.state, pool, now)

    def next_wakeup(self) -> float | None:
        """Return the instant by which ``receive`` must be called again if nothing happens before; None if never."""
        when = self.timers.next()
        return None if when == NEVER else when

    def refusal(self, lane: Lane, size_bytes: int = 0) -> PenstockError | None:
        """Return why a job of this size would not be admitted now, or None if it would be."""
        return admission.refusal(self.state, lane, size_bytes)

    def closed(self) -> PenstockError | None:
        """Return why no work is accepted now, or None if it is."""
        return admission.closed(self.state)

    def spare_slots(self, lane: Lane) -> int:
        """Return how many more jobs of the lane would begin at once: none while jobs of its pool wait."""
        return spare_slots.spare_slots(self.state, lane)

    @staticmethod
    def slots(lane: Lane) -> int:
        """Return how many jobs of the lane can run at a time."""
        return spare_slots.slots(lane)

    @property
    def now(self) -> float:
        """The instant of the latest event."""
        return self.state.now

    @property
    def jobs_live(self) -> int:
        """The number of jobs that are admitted and not answered."""
        return self.state.jobs_live

    @property
    def is_draining(self) -> bool:
        """True once a drain has begun: no new work is accepted."""
        return self.state.is_draining

    @property
    def is_complete(self) -> bool:
        """True while no worker is starting."""
        return all(worker.state is not STARTING for worker in self.workers.values())

    @property
    def is_drained(self) -> bool:
        """True once a drain is over: every admitted job is answered, and no worker is left."""
        return self.is_draining and not self.state.jobs_live and not self.workers

    def unready_reasons(self) -> list[str]:
        """Return why work should not be sent here now; empty if it should."""
        reasons = {DRAINING: ["draining"], PAUSED: ["taken out of rotation"]}.get(self.state.intake, [])
        for pool in self.pools.values():
            if pool.failure is not None:
                reasons.append(f"pool {pool.name} has failed")
            elif not pool.is_ready:
                reasons.append(f"pool {pool.name} has no ready worker")
            elif pool.is_looping:
                reasons.append(f"pool {pool.name} is in a crash loop: its workers have to prove themselves")
        return reasons

    def take_counts(self) -> list[CountsReport]:
        """Return what was counted in each lane since it was last reported."""
        return [CountsReport(lane, lane.counts.take()) for lane in self.lanes.values() if lane.counts.has_news]

    def live_jobs(self) -> list[Job]:
        """Return the jobs that are admitted and not answered."""
        waiting = [job for lane in self.lanes.values() for job in lane.waiting()]
        held = [job for attempt in self.attempts.values() for job in attempt.jobs if job.attempt is attempt]
        return waiting + held


def _time_passed(_state: SchedulerState, _event: on.TimePassed, _now: float) -> None:
    """Do nothing: the timers have run, and nothing else has happened."""
