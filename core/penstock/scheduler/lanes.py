"""A lane is an endpoint as the scheduler sees it: its limits, its queue, its counts."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from penstock.policies import Batching, Retries, Timeouts
from penstock.scheduler.jobs import Job
from penstock.scheduler.timers import NEVER, Timed

DEFAULT_MAX_QUEUE_BYTES = 256 << 20
_SAMPLES = 1024  # how many of the latest times the quantiles are taken from


@dataclass(frozen=True, kw_only=True)
class LaneSpec:
    """What the scheduler must know of an endpoint.

    Parameters
    ----------
    name, pool:
        Its name, and that of the pool that runs it.
    units:
        What one attempt takes of the capacity of one worker.
    is_stream:
        Whether it answers in chunks.
    is_interruptible:
        Whether its code can be made to stop: not so in a thread, where the interrupt only sets a flag.
    max_queue, max_queue_bytes:
        The queue's bounds, in jobs and in bytes of bodies.
    """

    name: str
    pool: str = "default"
    units: int = 1
    is_stream: bool = False
    is_interruptible: bool = True
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    batching: Batching | None = None
    max_queue: int = 1000
    max_queue_bytes: int = DEFAULT_MAX_QUEUE_BYTES
    idempotent: bool = True


class FifoQueue:
    """Jobs in order of arrival. Every operation is O(1)."""

    __slots__ = ("jobs", "size_bytes")

    def __init__(self) -> None:
        # An OrderedDict and not a dict: finding the first key of a dict whose first keys were deleted is O(n).
        self.jobs: OrderedDict[int, Job] = OrderedDict()  # by sequence; read it, and write through the methods
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs.values())

    def push(self, job: Job) -> None:
        """Add a job that has just arrived."""
        self.jobs[job.sequence] = job
        self.size_bytes += job.size_bytes

    def push_front(self, job: Job) -> None:
        """Put back a job that had been taken out."""
        self.jobs[job.sequence] = job
        self.jobs.move_to_end(job.sequence, last=False)
        self.size_bytes += job.size_bytes

    def head(self) -> Job:
        """The job whose turn it is. The queue must not be empty."""
        return next(iter(self.jobs.values()))

    def pop(self) -> Job:
        """Take out the job whose turn it is. The queue must not be empty."""
        _, job = self.jobs.popitem(last=False)
        self.size_bytes -= job.size_bytes
        return job

    def remove(self, job: Job) -> None:
        """Take out a job that is somewhere in the queue."""
        del self.jobs[job.sequence]
        self.size_bytes -= job.size_bytes


class Lane(Timed):
    """An endpoint's queue and counts. Only the scheduler writes to it; ``due`` is when a waiting batch must go."""

    __slots__ = (
        "_execution_times",
        "_queue_times",
        "batching",
        "idempotent",
        "is_interruptible",
        "is_stream",
        "max_queue",
        "max_queue_bytes",
        "name",
        "outcomes",
        "pool_name",
        "queue",
        "retries",
        "running",
        "timeouts",
        "units",
    )

    def __init__(self, spec: LaneSpec) -> None:
        super().__init__()
        self.name = spec.name
        self.pool_name = spec.pool
        self.units = spec.units
        self.is_stream = spec.is_stream
        self.is_interruptible = spec.is_interruptible
        self.timeouts = spec.timeouts
        self.retries = spec.retries
        self.batching = spec.batching
        self.max_queue = spec.max_queue
        self.max_queue_bytes = spec.max_queue_bytes
        self.idempotent = spec.idempotent
        self.queue = FifoQueue()
        self.running = 0  # jobs in attempts that still wait for an answer
        self.outcomes: Counter[str] = Counter()
        self._queue_times: deque[float] = deque(maxlen=_SAMPLES)
        self._execution_times: deque[float] = deque(maxlen=_SAMPLES)

    def __repr__(self) -> str:
        return f"<Lane {self.name}: {len(self.queue)} queued, {self.running} running>"

    def batch_due(self, job: Job) -> float:
        """The latest instant at which a batch that this job waits for must go.

        The first job of a batch waits at most ``max_wait``; and none spends more than half of the time that it has left
        on waiting for company, so that some remains to run in.
        """
        assert self.batching is not None
        patience = min(job.start_by, job.finish_by) - job.arrived
        return job.arrived + min(self.batching.max_wait, patience / 2)

    def is_due(self, now: float) -> bool:
        """Whether the queue, which is not empty, has something that should go now."""
        if self.batching is None or len(self.queue) >= self.batching.max_size:
            return True
        return self.due <= now or self.queue.head().is_suspect

    def take(self) -> list[Job]:
        """Take out what goes into the next attempt: one job, or a batch. A suspect goes alone."""
        first = self.queue.pop()
        jobs = [first]
        if self.batching is None or first.deaths:
            return jobs
        while len(jobs) < self.batching.max_size and len(self.queue) and not self.queue.head().is_suspect:
            jobs.append(self.queue.pop())
        return jobs

    def next_batch_due(self) -> float:
        """When the rest of the queue must go; looked at after each batch, when it holds less than one batch."""
        if self.batching is None or not len(self.queue):
            return NEVER
        if len(self.queue) >= self.batching.max_size:
            return 0.0
        return min(self.batch_due(job) for job in self.queue)

    def record(self, job: Job, code: str) -> None:
        """Count a job that has been answered."""
        self.outcomes[code] += 1
        if job.attempts:
            self._queue_times.append(job.started - job.arrived)
            if job.execution_seconds is not None:
                self._execution_times.append(job.execution_seconds)

    def statistics(self) -> dict[str, Any]:
        """The counts and quantiles, ready for JSON. Times are in seconds."""
        return {
            "pool": self.pool_name,
            "queued": len(self.queue),
            "queued_bytes": self.queue.size_bytes,
            "running": self.running,
            "totals": dict(self.outcomes),
            "queue_seconds": _quantiles(self._queue_times),
            "execution_seconds": _quantiles(self._execution_times),
        }


def _quantiles(times: deque[float]) -> dict[str, float] | None:
    if not times:
        return None
    cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else [times[0]] * 99
    return {"p50": round(cuts[49], 6), "p90": round(cuts[89], 6), "p99": round(cuts[98], 6)}
