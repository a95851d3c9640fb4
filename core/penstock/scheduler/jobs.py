"""Jobs and attempts: the records that the scheduler keeps of its work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.scheduler.states import QUEUED, SENT
from penstock.scheduler.timers import NEVER, Timed

if TYPE_CHECKING:
    from penstock.errors import HandlerError
    from penstock.policies import Timeouts
    from penstock.scheduler.lanes import Lane
    from penstock.scheduler.pools import Worker


class Job(Timed):
    """One accepted unit of work.

    Made by whoever submits it; from then on only the scheduler writes to it.

    Parameters
    ----------
    lane:
        The endpoint's place in the scheduler.
    timeouts:
        What this job may take: the endpoint's own, or tighter.
    size_bytes:
        What it holds of the queue's memory bound.
    payload:
        The submitter's own; the scheduler never looks at it.
    priority:
        How urgent it is in its queue: 0 interactive, 1 normal, 2 batch.
    share:
        Whom it counts against where callers share a queue.
    """

    __slots__ = (
        "admitted",
        "answered",
        "arrived",
        "attempt",
        "attempts",
        "chunks",
        "deaths",
        "execution_seconds",
        "failure",
        "finish_by",
        "first_chunk_at",
        "lane",
        "outcome",
        "payload",
        "priority",
        "progressed",
        "retry_at",
        "sequence",
        "share",
        "size_bytes",
        "spent",
        "start_by",
        "started",
        "state",
        "timeouts",
        "untaken",
    )

    def __init__(
        self,
        lane: Lane,
        timeouts: Timeouts,
        size_bytes: int = 0,
        payload: Any = None,
        *,
        priority: int = 1,
        share: str = "",
    ) -> None:
        self.due = NEVER
        self.entry = None
        self.lane = lane
        self.timeouts = timeouts
        self.size_bytes = size_bytes
        self.payload = payload
        self.priority = priority
        self.share = share
        self.state = QUEUED
        self.admitted = False  # a refused job is never in any count
        self.sequence = 0  # order of arrival; kept through a requeue, so that it returns to where it was
        self.arrived = 0.0
        self.start_by = NEVER  # moves only when the job is queued again
        self.finish_by = NEVER
        self.attempt: Attempt | None = None  # the one that runs it, or that stands in a worker's line for it
        self.attempts = 0  # tries in all, as the handler sees them
        self.spent = 0  # tries that count against the retries: an innocent bystander's does not
        self.deaths = 0  # workers that died under it
        self.failure: HandlerError | None = None  # why it is tried again; None after a lost worker
        self.retry_at = NEVER  # while it backs off: when it is queued again
        self.started = 0.0  # of the latest attempt
        self.chunks = 0  # that have arrived; a job with any is never tried again
        self.first_chunk_at = 0.0  # the instant; 0.0 if there is none
        self.untaken = 0  # of those, how many the caller has not taken
        self.progressed = 0.0  # when the stream's turn last changed hands: see deadlines.py
        self.outcome: Any = None  # written once, with the final state
        self.answered = 0.0
        self.execution_seconds: float | None = None

    def __repr__(self) -> str:
        return (
            f"<Job {self.sequence} of {self.lane.name}: {self.state}, attempts {self.attempts}, deaths {self.deaths}>"
        )

    @property
    def is_suspect(self) -> bool:
        """Whether a worker has died under it: it runs alone from then on, and so can harm nobody else."""
        return self.deaths > 0


class Attempt(Timed):
    """One try of a job, or of a batch of jobs, on one worker."""

    __slots__ = ("id", "jobs", "lane", "live", "started", "state", "units", "worker")

    def __init__(self, id_: int, worker: Worker, jobs: list[Job], units: int, now: float) -> None:
        self.due = NEVER  # when stopping: the instant of the kill
        self.entry = None
        self.id = id_
        self.lane = jobs[0].lane
        self.worker = worker
        self.jobs = jobs
        self.units = units  # of the worker's capacity, from its start until the worker has acknowledged its end
        self.live = len(jobs)  # jobs that still wait for it; at zero it is interrupted
        self.started = now
        self.state = SENT

    def __repr__(self) -> str:
        return f"<Attempt {self.id} of {self.lane.name}: {self.state}, {self.live}/{len(self.jobs)} jobs live>"

    def deadline(self) -> float:
        """The instant at which its last member's time is over; ``NEVER`` if a member has no limit."""
        latest = 0.0
        for job in self.jobs:
            limit = job.timeouts.execution
            latest = max(latest, min(NEVER if limit is None else self.started + limit, job.finish_by))
        return latest
