"""Lanes: an endpoint as the scheduler sees it, with its limits, its queue and its counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import DeadlineInfeasible, PenstockError, QueueFull, QueueTimeout, WorkerLost
from penstock.policies import Batching, Retries, Timeouts
from penstock.scheduler.jobs import Job
from penstock.scheduler.lane_counts import LaneCounts
from penstock.scheduler.queues import FifoQueue, Queue
from penstock.scheduler.timers import NEVER, Timed

if TYPE_CHECKING:  # see jobs.py
    from penstock.scheduler.pools import WorkerPool


def retry_lost(job: Job, error: PenstockError, _now: float) -> float | None:
    """Retry lost jobs only, at once, as often as ``Retries.max_attempts`` allows: the default retry policy."""
    is_allowed = isinstance(error, WorkerLost) and job.spent < job.lane.retries.max_attempts
    return 0.0 if is_allowed else None


@dataclass(frozen=True, kw_only=True)
class LaneSpec:
    """The scheduler's view of an endpoint's declaration.

    Parameters
    ----------
    name, pool:
        The endpoint's name, and the name of the pool that runs it.
    units:
        The share of one worker's capacity that one attempt takes.
    is_stream:
        True if the endpoint is declared to answer in chunks. Any that does not run batches may.
    is_interruptible:
        True if its code can be made to stop; False for threads, where an interrupt only sets a flag.
    runs_in_turn:
        True if a worker runs the attempts strictly one after the other, in the order in which they were sent, reports
        how one has ended before it begins the next, and can be asked to give back the ones that it has not begun: short
        attempts may then be sent ahead. Each takes the whole worker: ``units`` is the pool's capacity.
    max_queue:
        The most jobs in its queue.
    new_queue:
        The factory of its queue.
    retry:
        The retry policy, asked only where running the job again is safe: takes the job, its error and the instant, and
        returns the delay in seconds, or None.
    """

    name: str
    pool: str = "default"
    units: int = 1
    is_stream: bool = False
    is_interruptible: bool = True
    runs_in_turn: bool = False
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    batching: Batching | None = None
    max_queue: int = 1000
    idempotent: bool = True
    new_queue: Callable[[], Queue] = FifoQueue
    retry: Callable[[Job, PenstockError, float], float | None] = retry_lost


class Lane(Timed):
    """An endpoint's queue and counts. Only the scheduler writes to it; ``due`` is when a waiting batch must go."""

    __slots__ = (
        "admitted",
        "ahead",
        "backing_off",
        "batching",
        "counts",
        "expected_seconds",
        "idempotent",
        "is_interruptible",
        "is_plain",
        "is_stream",
        "items",
        "max_queue",
        "may_pass_queue",
        "may_send_ahead",
        "most_ahead",
        "name",
        "pool",
        "pool_name",
        "queue",
        "retries",
        "retry",
        "running",
        "runs_in_turn",
        "served",
        "timeouts",
        "units",
    )

    timer_kind: ClassVar[str] = "lane"

    def __init__(self, spec: LaneSpec) -> None:
        super().__init__()
        self.name = spec.name
        self.pool_name = spec.pool
        self.pool: WorkerPool  # set once, by WorkerPool.add
        self.units = spec.units
        self.is_stream = spec.is_stream
        self.is_interruptible = spec.is_interruptible
        self.timeouts = spec.timeouts
        self.retries = spec.retries
        self.batching = spec.batching
        self.max_queue = spec.max_queue
        self.idempotent = spec.idempotent
        self.queue = spec.new_queue()
        self.is_plain = type(self.queue) is FifoQueue  # it never refuses or sheds, so it need not be asked
        self.may_pass_queue = spec.batching is None and not getattr(self.queue, "sees_all", True)
        self.served = 0  # the sequence number of its latest turn that did not go to its oldest job
        self.retry = spec.retry
        # A job that was sent ahead may, very rarely, run twice: see the race in sending_ahead.py.
        self.runs_in_turn = spec.runs_in_turn
        self.may_send_ahead = spec.runs_in_turn and spec.idempotent and not spec.is_stream and spec.batching is None
        self.expected_seconds = math.inf  # an attempt's expected duration; infinite until one has ended
        self.most_ahead = 0.0  # attempts that may wait in one worker's line, a whole number; 0 unless they are short
        self.ahead = 0  # jobs that wait in a worker's line; they are queued, but not in `queue`
        self.items = 0  # the sum of the items of the jobs in `queue`
        self.admitted = 0  # jobs admitted in all
        self.running = 0  # jobs in attempts, without an answer yet
        self.backing_off: dict[int, Job] = {}  # by sequence: jobs that have failed and are not queued again yet
        self.counts = LaneCounts(is_batched=spec.batching is not None)

    def __repr__(self) -> str:
        return f"<Lane {self.name}: {self.queued} queued, {self.running} running>"

    @property
    def queued(self) -> int:
        """The number of jobs that wait, including those that were sent ahead."""
        return len(self.queue) + self.ahead

    @property
    def rank(self) -> int:
        """The lane's position among those of its pool: the least goes first. The queue must not be empty.

        In a lane that serves its oldest job first, the rank is the order of arrival. A lane that serves another job
        first ranks by its latest turn: jobs that reached other lanes before that turn go first. So such a lane neither
        starves the others, however old its jobs are, nor is starved; and several such lanes take turns.
        """
        return max(next(iter(self.queue.jobs)), self.served)

    def advise(self, error: PenstockError, now: float) -> PenstockError:
        """Add to a refusal what the queue knows: when to try again, and how long that takes. Return the refusal."""
        if isinstance(error, (QueueFull, QueueTimeout, DeadlineInfeasible)) and self.queue.sheds:
            if error.retry_after is None:
                error.retry_after = self.queue.retry_after(now)
            error.execution_seconds = self.queue.execution_seconds(now)
        return error

    def waiting(self) -> list[Job]:
        """Return the jobs that wait in the queue or back off; not those that were sent ahead."""
        return [*self.queue, *self.backing_off.values()]

    def batch_due(self, job: Job) -> float:
        """Return the latest instant at which a batch with this job must go.

        The first job of a batch waits at most ``max_wait``; and no job spends more than half of its remaining time on
        waiting for others, so that some of it is left to run in.
        """
        assert self.batching is not None
        patience = min(job.start_by, job.finish_by) - job.arrived
        return job.arrived + min(self.batching.max_wait, patience / 2)

    def is_due(self, now: float) -> bool:
        """Return whether an attempt from the queue, which must not be empty, should go now."""
        if self.batching is None or self.items >= self.batching.max_size:
            return True
        return self.due <= now or self.queue.head(now).is_suspect

    def next_batch_due(self) -> float:
        """Return when the rest of the queue must go; asked after each batch, when less than one batch is left."""
        if self.batching is None or not len(self.queue):
            return NEVER
        if self.items >= self.batching.max_size:
            return 0.0
        return min(self.batch_due(job) for job in self.queue)

    def statistics(self) -> dict[str, Any]:
        """Return the counts and quantiles, ready for JSON. Times are in seconds."""
        return {
            "pool": self.pool_name,
            "queued": self.queued,
            "queued_bytes": self.queue.size_bytes,
            "running": self.running,
            "backing_off": len(self.backing_off),
        } | self.counts.statistics()
