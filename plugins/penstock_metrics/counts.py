"""Counters and histograms that cost next to nothing: plain numbers, written in one thread.

prometheus_client's own take a lock and look labels up for each number, which is microseconds for each request. Here an
observation is a lookup, an addition and a bisection, of many records in a row: one by one, between all that a server
does for each request, the same work takes two or three times as long. What the numbers amount to is put together when
somebody asks.

No label has more values than the app gives it, whatever clients send: what is not known counts as ``other``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from penstock.errors import DeclarationError
from penstock.hooks import (
    App,
    AttemptEnded,
    AttemptInterrupted,
    HookFailed,
    JobAnswered,
    PenstockError,
    Record,
    RequestAnswered,
    RetryScheduled,
    WorkerKilled,
    WorkerLost,
    WorkerReady,
    WorkerRestarted,
)

OTHER: Final = "other"
BATCH_BUCKETS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
INTERRUPT_REASONS: Final = ("cancel", "queue", "total", "execution", "first_chunk", "idle", "unread", "drain")
RETRIED_CODES: Final = ("handler-error", "worker-lost")
MOST_ROUTES: Final = 50
"""Routes are named by plug-ins, so there are few; the app does not know them beforehand."""
MOST_HOOKS: Final = 100
LONGEST_NAME: Final = 200
MOST_RECENT: Final = 256
"""Records that wait to be counted: enough to be quick, and few enough to be counted within a fraction of a millisecond.
"""


class Histogram:
    """How often a number was at most so large.

    Attributes
    ----------
    bounds:
        The upper bounds, ascending; what is above the last one is counted too.
    counts:
        For each bound what is at most that and above the one before, and at last the rest.
    total:
        The sum of all numbers.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Tally(dict[str, int]):
    """Counts by a label's value; what is not among the values known from the beginning counts as ``other``."""

    def __init__(self, known: Sequence[str]) -> None:
        super().__init__(dict.fromkeys(known, 0))

    def add(self, value: str) -> None:
        """Count one."""
        if value in self:
            self[value] += 1
        else:
            self[OTHER] = self.get(OTHER, 0) + 1


class JobCounts:
    """The jobs of one endpoint. A histogram that would make no sense for it is None."""

    __slots__ = (
        "batches",
        "execution",
        "first_chunk",
        "interrupts",
        "outcomes",
        "queue",
        "retries",
        "useful_seconds",
        "wasted_seconds",
    )

    def __init__(self, codes: Sequence[str], bounds: Sequence[float], *, is_stream: bool, is_batched: bool) -> None:
        self.outcomes = Tally(codes)
        self.retries = Tally(RETRIED_CODES)
        self.interrupts = Tally(INTERRUPT_REASONS)
        self.queue = Histogram(bounds)
        self.execution = Histogram(bounds)
        self.first_chunk = Histogram(bounds) if is_stream else None
        self.batches = Histogram(BATCH_BUCKETS) if is_batched else None
        self.useful_seconds = 0.0
        self.wasted_seconds = 0.0


class ResponseCounts:
    """The responses of one endpoint or route, by status."""

    __slots__ = ("seconds", "statuses")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.statuses: dict[int | str, int] = {}
        self.seconds = Histogram(bounds)

    def add(self, status: int) -> None:
        """Count one."""
        known: int | str = status if 100 <= status <= 599 else OTHER
        self.statuses[known] = self.statuses.get(known, 0) + 1


class PoolCounts:
    """The workers of one pool."""

    __slots__ = ("kills", "losses", "restarts", "setup")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.setup = Histogram(bounds)
        self.losses = 0
        self.kills = 0
        self.restarts = 0


class Counts:
    """All that is counted for one engine.

    Parameters
    ----------
    app:
        Whose endpoints and pools there are.
    bounds:
        Of the histograms of times, in seconds.

    Attributes
    ----------
    jobs, responses, pools:
        By the endpoint, the endpoint or route, and the pool.
    hook_failures:
        By the plug-in and the hook.
    """

    def __init__(self, app: App, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._codes = answer_codes()
        self.jobs = {
            endpoint.name: self._job_counts(is_stream=endpoint.is_stream, is_batched=endpoint.batching is not None)
            for endpoint in app.endpoints
        }
        self.responses = {endpoint.name: ResponseCounts(bounds) for endpoint in app.endpoints}
        self.pools = {name: PoolCounts(bounds) for name in app.pools}
        self.hook_failures: dict[tuple[str, str], int] = {}
        self._most_responses = len(self.responses) + MOST_ROUTES
        self._recent: list[Record] = []
        self._count: dict[type[Record], Callable[[Any], None]] = {
            JobAnswered: self._job_answered,
            AttemptEnded: self._attempt_ended,
            RequestAnswered: self._request_answered,
        }

    def observers(self) -> dict[type[Record], Callable[[Any], None]]:
        """What to tell of each record."""
        return {
            JobAnswered: self._note,
            AttemptEnded: self._recent.append,  # each is followed by what is told of its jobs
            RequestAnswered: self._note,
            AttemptInterrupted: self._attempt_interrupted,
            RetryScheduled: self._retry_scheduled,
            WorkerReady: self._worker_ready,
            WorkerLost: self._worker_lost,
            WorkerKilled: self._worker_killed,
            WorkerRestarted: self._worker_restarted,
            HookFailed: self._hook_failed,
        }

    # ---- for each request

    def _note(self, record: Record) -> None:
        self._recent.append(record)
        if len(self._recent) >= MOST_RECENT:
            self.catch_up()

    def catch_up(self) -> None:
        """Count what has not been counted yet: to be called before anybody looks."""
        recent = self._recent.copy()
        self._recent.clear()
        for record in recent:
            self._count[type(record)](record)

    def _job_answered(self, record: JobAnswered) -> None:
        counts = self.jobs.get(record.endpoint) or self._other_jobs()
        counts.outcomes.add(record.code)
        seconds = record.queue_seconds
        if record.attempts or seconds:  # else it was refused, and never waited
            counts.queue.observe(seconds)
        execution = record.execution_seconds
        if execution is not None:
            counts.execution.observe(execution)
        first_chunk = record.first_chunk_seconds
        if first_chunk is not None and counts.first_chunk is not None:
            counts.first_chunk.observe(first_chunk)

    def _attempt_ended(self, record: AttemptEnded) -> None:
        counts = self.jobs.get(record.endpoint) or self._other_jobs()
        jobs, seconds = record.jobs, record.seconds
        # A batch of which nobody waits for a half any more was half useful.
        useful = seconds * record.useful / jobs
        counts.useful_seconds += useful
        counts.wasted_seconds += seconds - useful
        if counts.batches is not None:
            counts.batches.observe(jobs)

    def _request_answered(self, record: RequestAnswered) -> None:
        counts = self.responses.get(record.endpoint) or self._other_responses(record.endpoint)
        counts.add(record.status)
        counts.seconds.observe(record.seconds)

    # ---- now and then

    def _attempt_interrupted(self, record: AttemptInterrupted) -> None:
        (self.jobs.get(record.endpoint) or self._other_jobs()).interrupts.add(record.why)

    def _retry_scheduled(self, record: RetryScheduled) -> None:
        (self.jobs.get(record.endpoint) or self._other_jobs()).retries.add(record.code)

    def _worker_ready(self, record: WorkerReady) -> None:
        self._pool(record.pool).setup.observe(record.seconds)

    def _worker_lost(self, record: WorkerLost) -> None:
        self._pool(record.pool).losses += 1

    def _worker_killed(self, record: WorkerKilled) -> None:
        self._pool(record.pool).kills += 1

    def _worker_restarted(self, record: WorkerRestarted) -> None:
        self._pool(record.pool).restarts += 1

    def _hook_failed(self, record: HookFailed) -> None:
        key = record.plugin, record.hook
        if key not in self.hook_failures and (len(self.hook_failures) >= MOST_HOOKS or not all(map(_is_plain, key))):
            key = OTHER, OTHER
        self.hook_failures[key] = self.hook_failures.get(key, 0) + 1

    # ---- what is not known beforehand

    def _job_counts(self, *, is_stream: bool, is_batched: bool) -> JobCounts:
        return JobCounts(self._codes, self._bounds, is_stream=is_stream, is_batched=is_batched)

    def _other_jobs(self) -> JobCounts:
        if OTHER not in self.jobs:
            self.jobs[OTHER] = self._job_counts(is_stream=False, is_batched=False)
        return self.jobs[OTHER]

    def _other_responses(self, name: str) -> ResponseCounts:
        """Those of a route, when it is first seen; or of all paths where nothing is."""
        if not _is_plain(name) or len(self.responses) >= self._most_responses:
            name = OTHER
        return self.responses.setdefault(name, ResponseCounts(self._bounds))

    def _pool(self, name: str) -> PoolCounts:
        return self.pools.get(name) or self.pools.setdefault(OTHER, PoolCounts(self._bounds))


def _is_plain(name: str) -> bool:
    """Whether it could be a name at all: a lone surrogate, say, could not even be encoded."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable()


def answer_codes() -> tuple[str, ...]:
    """The codes that a job can be answered with: ``ok``, and those of all errors there are, a plug-in's included."""
    errors: list[type[PenstockError]] = [PenstockError, *_heirs(PenstockError)]
    return ("ok", *sorted({error.code for error in errors if not issubclass(error, DeclarationError)}))


def _heirs(kind: type[PenstockError]) -> Iterator[type[PenstockError]]:
    for heir in kind.__subclasses__():
        yield heir
        yield from _heirs(heir)
