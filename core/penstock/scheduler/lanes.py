"""A lane is an endpoint as the scheduler sees it: its limits, its queue, its counts."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles
from typing import TYPE_CHECKING, Any, Final

from penstock.errors import DeadlineInfeasible, PenstockError, QueueFull, QueueTimeout
from penstock.policies import Batching, Retries, Timeouts
from penstock.scheduler.jobs import Job
from penstock.scheduler.queues import FifoQueue, Queue
from penstock.scheduler.retries import retry_lost
from penstock.scheduler.timers import NEVER, Timed

if TYPE_CHECKING:
    from penstock.scheduler.pools import WorkerPool

DEFAULT_MAX_QUEUE_BYTES = 256 << 20
_EXPECTATION_GAIN = 0.125  # of the latest time in the moving average, as in TCP's estimate of the round trip (RFC 6298)
_SAMPLES = 1024  # how many of the latest times the quantiles are taken from

# A worker that has done a short attempt waits for the next one for as long as a message takes both ways, which may be
# longer than the attempt. So short ones are sent ahead, as many as are expected to take AHEAD_SECONDS together.
AHEAD_SECONDS: Final = 0.001
AHEAD_MOST: Final = 64


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
    runs_in_turn:
        Whether a worker runs its attempts strictly one after the other, in the order in which they were sent, says how
        one has ended before it begins the next, and can be asked to give back those that it has not begun: then short
        ones may be sent ahead. Each takes the whole worker: ``units`` is the pool's capacity.
    max_queue, max_queue_bytes:
        The queue's bounds, in jobs and in bytes of bodies.
    new_queue:
        Makes its queue.
    retry:
        Decides whether a job that has failed runs again, where that is safe at all: takes the job, its error and the
        instant, and returns after how many seconds, or None.
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
    max_queue_bytes: int = DEFAULT_MAX_QUEUE_BYTES
    idempotent: bool = True
    new_queue: Callable[[], Queue] = FifoQueue
    retry: Callable[[Job, PenstockError, float], float | None] = retry_lost


class Lane(Timed):
    """An endpoint's queue and counts. Only the scheduler writes to it; ``due`` is when a waiting batch must go."""

    __slots__ = (
        "_execution_times",
        "_queue_times",
        "admitted",
        "ahead",
        "backing_off",
        "batching",
        "expected_seconds",
        "idempotent",
        "is_interruptible",
        "is_plain",
        "is_stream",
        "max_queue",
        "max_queue_bytes",
        "may_send_ahead",
        "most_ahead",
        "name",
        "outcomes",
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

    def __init__(self, spec: LaneSpec) -> None:
        super().__init__()
        self.name = spec.name
        self.pool_name = spec.pool
        self.pool: WorkerPool  # set once by it
        self.units = spec.units
        self.is_stream = spec.is_stream
        self.is_interruptible = spec.is_interruptible
        self.timeouts = spec.timeouts
        self.retries = spec.retries
        self.batching = spec.batching
        self.max_queue = spec.max_queue
        self.max_queue_bytes = spec.max_queue_bytes
        self.idempotent = spec.idempotent
        self.queue = spec.new_queue()
        self.is_plain = type(self.queue) is FifoQueue  # it has no opinion, and need not be asked for one
        self.served = 0  # the number, among those of the jobs, of its last turn that was not its oldest job's
        self.retry = spec.retry
        # What was sent ahead may, very rarely, run twice: see Guard.may_begin in the worker.
        self.runs_in_turn = spec.runs_in_turn
        self.may_send_ahead = spec.runs_in_turn and spec.idempotent and not spec.is_stream and spec.batching is None
        self.expected_seconds = math.inf  # of one attempt; unknown until one has ended
        self.most_ahead = 0.0  # attempts that may stand in one worker's line, a whole number; 0 unless they are short
        self.ahead = 0  # jobs that stand in some worker's line; they are queued, but not in ``queue``
        self.admitted = 0  # jobs in all
        self.running = 0  # jobs in attempts that still wait for an answer
        self.backing_off: dict[int, Job] = {}  # by sequence: jobs that have failed, and are not queued again yet
        self.outcomes: Counter[str] = Counter()
        self._queue_times: deque[float] = deque(maxlen=_SAMPLES)
        self._execution_times: deque[float] = deque(maxlen=_SAMPLES)

    def __repr__(self) -> str:
        return f"<Lane {self.name}: {self.queued} queued, {self.running} running>"

    @property
    def queued(self) -> int:
        """How many jobs wait, those that were sent ahead included."""
        return len(self.queue) + self.ahead

    @property
    def rank(self) -> int:
        """Where the lane stands among those of its pool: the least goes first. The queue must not be empty.

        Where the oldest goes first, that is the order of arrival. A lane in which another one does has had its turn
        when it was last served: what has come to other lanes before that goes first. So it neither starves the others,
        for all its old jobs, nor is starved; and several such lanes go in turns.
        """
        return max(next(iter(self.queue.jobs)), self.served)

    def advise(self, error: PenstockError, now: float) -> PenstockError:
        """Add to a refusal when to try again, if the queue knows."""
        is_for_want_of_room = isinstance(error, (QueueFull, QueueTimeout, DeadlineInfeasible))
        if is_for_want_of_room and self.queue.sheds and error.retry_after is None:
            error.retry_after = self.queue.retry_after(now)
        return error

    def waiting(self) -> list[Job]:
        """The jobs that nothing has been done for yet, or that it is to be done for again; not what was sent ahead."""
        return [*self.queue, *self.backing_off.values()]

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
        return self.due <= now or self.queue.head(now).is_suspect

    def next_batch_due(self) -> float:
        """When the rest of the queue must go; looked at after each batch, when it holds less than one batch."""
        if self.batching is None or not len(self.queue):
            return NEVER
        if len(self.queue) >= self.batching.max_size:
            return 0.0
        return min(self.batch_due(job) for job in self.queue)

    def learn(self, seconds: float) -> None:
        """Take an attempt's time into account for what is expected of the next."""
        if self.expected_seconds == math.inf:
            self.expected_seconds = seconds
        else:
            self.expected_seconds += _EXPECTATION_GAIN * (seconds - self.expected_seconds)
        self.most_ahead = AHEAD_SECONDS // max(self.expected_seconds, AHEAD_SECONDS / AHEAD_MOST)

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
            "queued": self.queued,
            "queued_bytes": self.queue.size_bytes,
            "running": self.running,
            "backing_off": len(self.backing_off),
            "totals": dict(self.outcomes),
            "queue_seconds": _quantiles(self._queue_times),
            "execution_seconds": _quantiles(self._execution_times),
        }


def _quantiles(times: deque[float]) -> dict[str, float] | None:
    if not times:
        return None
    cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else [times[0]] * 99
    return {"p50": round(cuts[49], 6), "p90": round(cuts[89], 6), "p99": round(cuts[98], 6)}
