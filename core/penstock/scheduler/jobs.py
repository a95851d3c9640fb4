"""Jobs and attempts: the scheduler's records of its work.

``jobs``, ``lanes`` and ``pools`` describe one graph of records (a job has a lane, a lane a pool, a pool workers, a
worker attempts, an attempt jobs), so their annotations refer to each other. They are the only modules that do: the
imports that would be circular are for the type checker alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import HandlerError
from penstock.policies import Timeouts
from penstock.scheduler.states import QUEUED, SENT
from penstock.scheduler.timers import NEVER, Timed

if TYPE_CHECKING:  # see above
    from penstock.scheduler.lanes import Lane
    from penstock.scheduler.pools import Worker


class Job(Timed):
    """One accepted unit of work.

    Created by its submitter, who may derive a class of its own (``penstock.engine.calls.Call``); from then on only the
    scheduler writes to the fields below.

    Parameters
    ----------
    lane:
        The endpoint's lane.
    timeouts:
        The job's limits: the endpoint's, or tighter ones.
    size_bytes:
        The job's share of the queue's memory bound.
    priority:
        The job's urgency in its queue: 0 interactive, 1 normal, 2 batch.
    share:
        The caller that the job counts against where callers share a queue.
    items:
        Its share of the size of a batch.
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
        "handler_seconds",
        "head",
        "items",
        "lane",
        "outcome",
        "priority",
        "progressed",
        "queue_seconds",
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

    timer_kind: ClassVar[str] = "job"

    def __init__(
        self,
        lane: Lane,
        timeouts: Timeouts,
        size_bytes: int = 0,
        *,
        priority: int = 1,
        share: str = "",
        items: int = 1,
    ) -> None:
        self.due = NEVER
        self.entry = None
        self.lane = lane
        self.timeouts = timeouts
        self.size_bytes = size_bytes
        self.priority = priority
        self.share = share
        self.items = items
        self.state = QUEUED
        self.admitted = False  # a refused job appears in no count
        self.sequence = 0  # order of arrival; kept when the job is queued again, so that it returns to its position
        self.arrived = 0.0
        self.start_by = NEVER  # moves only when the job is queued again
        self.finish_by = NEVER
        self.attempt: Attempt | None = None  # the one that runs it, or waits in a worker's line for it
        self.attempts = 0  # the number of them, as the handler sees it
        self.spent = 0  # attempts that count against the retries; an innocent bystander's does not
        self.deaths = 0  # workers that died while running it
        self.failure: HandlerError | None = None  # why it is tried again; None after a lost worker
        self.retry_at = NEVER  # while it backs off: when it is queued again
        self.started = 0.0  # the start of the latest attempt
        self.head: Any = None  # the head of the stream that answers it, if any
        self.chunks = 0  # chunks that have arrived; a job with any is never tried again
        self.first_chunk_at = 0.0  # the instant of the first chunk; 0.0 if there is none
        self.untaken = 0  # chunks that have arrived and that the caller has not taken
        self.progressed = 0.0  # when the stream's turn last changed hands: see deadlines.py
        self.answered = 0.0
        self.handler_seconds: float | None = None  # in the user's code; None unless an attempt has ended with a result
        self.queue_seconds: float | None = None  # from arrival to the latest attempt's start, or to the answer
        self.execution_seconds: float | None = None  # in the user's code, or until the answer; None if it never started
        self.outcome: Any = None  # written once, with the final state and after the times: other threads read it

    def __repr__(self) -> str:
        return (
            f"<Job {self.sequence} of {self.lane.name}: {self.state}, attempts {self.attempts}, deaths {self.deaths}>"
        )

    @property
    def is_suspect(self) -> bool:
        """True once a worker has died while running the job: from then on it runs alone, and can harm no other."""
        return self.deaths > 0

    def settle(self, now: float) -> None:
        """Write the times of a job that is answered now."""
        self.answered = now
        if self.attempts:
            self.queue_seconds = self.started - self.arrived
            self.execution_seconds = now - self.started if self.handler_seconds is None else self.handler_seconds
        else:
            self.queue_seconds = now - self.arrived

    @property
    def first_chunk_seconds(self) -> float | None:
        """Seconds from the start of a stream's attempt to its first chunk; None if there is no chunk."""
        return self.first_chunk_at - self.started if self.first_chunk_at else None


class Attempt(Timed):
    """One try of a job, or of a batch of jobs, on one worker."""

    __slots__ = ("id", "jobs", "lane", "live", "started", "state", "units", "worker")

    timer_kind: ClassVar[str] = "attempt"

    def __init__(self, id_: int, worker: Worker, jobs: list[Job], units: int, now: float) -> None:
        self.due = NEVER  # while it is stopping: the instant of the kill
        self.entry = None
        self.id = id_
        self.lane = jobs[0].lane
        self.worker = worker
        self.jobs = jobs
        self.units = (
            units  # its share of the worker's capacity, from its start until the worker has acknowledged its end
        )
        self.live = len(jobs)  # jobs that still wait for it; at zero it is interrupted
        self.started = now
        self.state = SENT

    def __repr__(self) -> str:
        return f"<Attempt {self.id} of {self.lane.name}: {self.state}, {self.live}/{len(self.jobs)} jobs live>"

    def deadline(self) -> float:
        """Return the instant at which the last of its jobs runs out of time; ``NEVER`` if one of them has no limit."""
        latest = 0.0
        for job in self.jobs:
            limit = job.timeouts.execution
            latest = max(latest, min(NEVER if limit is None else self.started + limit, job.finish_by))
        return latest
