"""Counters and histograms that cost almost nothing: plain numbers, written by one thread.

The metrics of prometheus_client take a lock and look up labels for each number, which costs microseconds per request.
Here numbers are counted many at a time, which costs next to nothing for each: the scheduler notes the times of jobs
anyway and hands them over in hundreds, and responses are collected until there are as many. Totals are computed on
scrape.

The app bounds the values of every label, whatever clients send: unknown values count as ``other``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from penstock.errors import DeclarationError
from penstock.hooks import (
    App,
    AttemptInterrupted,
    HookFailed,
    JobsCounted,
    JobTraced,
    PenstockError,
    Record,
    RequestAnswered,
    RetryScheduled,
    WorkerKilled,
    WorkerLost,
    WorkerReady,
    WorkerRecycled,
    WorkerRestarted,
)

OTHER: Final = "other"
BATCH_BUCKETS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
INTERRUPT_REASONS: Final = ("cancel", "queue", "total", "execution", "first_chunk", "idle", "unread", "drain")
RETRIED_CODES: Final = ("handler-error", "worker-lost")
MOST_ROUTES: Final = 50
"""Plug-ins name their routes, so there are few; but the app does not know the names beforehand."""
MOST_HOOKS: Final = 100
LONGEST_NAME: Final = 200
MOST_RECENT: Final = 256
"""Responses that may wait to be counted: enough to be efficient, few enough to count in a fraction of a millisecond."""


class TracedValue(NamedTuple):
    """A number of a request or a job that can be looked up in a trace."""

    value: float
    trace_id: str
    span_id: str


class Histogram:
    """A histogram of numbers in fixed buckets.

    Attributes
    ----------
    bounds:
        The upper bounds of the buckets, ascending, without the implied infinite one.
    counts:
        The count of each bucket: the numbers up to its bound and above the previous one; at last, the infinite bucket.
    total:
        The sum of all numbers.
    examples:
        By bucket, the latest of its numbers that belongs to a sampled trace.
    """

    __slots__ = ("bounds", "counts", "examples", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.examples: dict[int, TracedValue] = {}

    def exemplify(self, value: float, trace_id: str, span_id: str) -> None:
        """Keep a number, which is counted elsewhere, as the example of its bucket."""
        self.examples[bisect_left(self.bounds, value)] = TracedValue(value, trace_id, span_id)

    def observe(self, value: float) -> None:
        """Count a number."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Count many numbers."""
        ordered = sorted(values)
        start = 0
        for bucket, bound in enumerate(self.bounds):
            if start == len(ordered):
                break
            end = bisect_right(ordered, bound, start)
            self.counts[bucket] += end - start
            start = end
        self.counts[-1] += len(ordered) - start
        self.total += sum(ordered)

    def observe_sizes(self, sizes: Mapping[int, int]) -> None:
        """Count numbers of which each occurs a number of times."""
        for size, times in sizes.items():
            self.counts[bisect_left(self.bounds, size)] += times
            self.total += size * times


class Tally(dict[str, int]):
    """Counts by the value of a label. Values that are not known from the start count as ``other``."""

    def __init__(self, known: Sequence[str]) -> None:
        super().__init__(dict.fromkeys(known, 0))

    def add(self, value: str, times: int = 1) -> None:
        """Count a value."""
        known = value if value in self else OTHER
        self[known] = self.get(known, 0) + times


class JobCounts:
    """The counts of one endpoint's jobs. A histogram that does not apply to the endpoint, so far, is None."""

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


RECYCLE_REASONS = ("attempts", "age", "memory", "interrupt", "check")


class ResponseCounts:
    """The counts of one endpoint's or route's responses, by status."""

    __slots__ = ("seconds", "statuses")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.statuses: dict[int | str, int] = {}
        self.seconds = Histogram(bounds)

    def add(self, status: int, seconds: Sequence[float]) -> None:
        """Count responses of one status by their times."""
        known: int | str = status if 100 <= status <= 599 else OTHER
        self.statuses[known] = self.statuses.get(known, 0) + len(seconds)
        self.seconds.observe_all(seconds)


class PoolCounts:
    """The counts of one pool's workers."""

    __slots__ = ("kills", "losses", "recycles", "restarts", "setup")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.setup = Histogram(bounds)
        self.losses = 0
        self.kills = 0
        self.restarts = 0
        self.recycles = dict.fromkeys(RECYCLE_REASONS, 0)


class Counts:
    """All counts of one engine.

    Parameters
    ----------
    app:
        The app, which names the endpoints and pools.
    bounds:
        The bucket bounds of the histograms of durations, in seconds.

    Attributes
    ----------
    jobs, responses, pools:
        The counts by endpoint, by endpoint or route, and by pool.
    hook_failures:
        The number of failures by plug-in and hook.
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
        self._recent: list[RequestAnswered] = []

    def observers(self) -> dict[type[Record], Callable[[Any], None]]:
        """Return the observer of each type of record."""
        return {
            JobsCounted: self._jobs_counted,
            JobTraced: self._job_traced,
            RequestAnswered: self._request_answered,
            AttemptInterrupted: self._attempt_interrupted,
            RetryScheduled: self._retry_scheduled,
            WorkerReady: self._worker_ready,
            WorkerLost: self._worker_lost,
            WorkerKilled: self._worker_killed,
            WorkerRestarted: self._worker_restarted,
            WorkerRecycled: self._worker_recycled,
            HookFailed: self._hook_failed,
        }

    # ---- for each request

    def _request_answered(self, record: RequestAnswered) -> None:
        recent = self._recent
        recent.append(record)
        if len(recent) >= MOST_RECENT:
            self.catch_up()

    # ---- for many at a time

    def catch_up(self) -> None:
        """Count the waiting responses. Call this before reading the counts."""
        recent, self._recent = self._recent, []
        times: dict[tuple[str, int], list[float]] = defaultdict(list)
        for record in recent:
            times[record.endpoint, record.status].append(record.seconds)
            if record.trace is not None and record.trace.is_sampled:
                counts = self.responses.get(record.endpoint) or self._other_responses(record.endpoint)
                counts.seconds.exemplify(record.seconds, record.trace.trace_id, record.trace.span_id)
        for (name, status), seconds in times.items():
            counts = self.responses.get(name) or self._other_responses(name)
            counts.add(status, seconds)

    def _jobs_counted(self, record: JobsCounted) -> None:
        counts = self.jobs.get(record.endpoint) or self._other_jobs()
        for code, times in record.codes.items():
            counts.outcomes.add(code, times)
        counts.queue.observe_all(record.queue_seconds)
        counts.execution.observe_all(record.execution_seconds)
        if record.first_chunk_seconds:
            if counts.first_chunk is None:  # it was not declared that the endpoint streams
                counts.first_chunk = Histogram(self._bounds)
            counts.first_chunk.observe_all(record.first_chunk_seconds)
        if counts.batches is not None:
            counts.batches.observe_sizes(record.batch_sizes)
        counts.useful_seconds += record.useful_seconds
        counts.wasted_seconds += record.wasted_seconds

    # ---- for rare events

    def _job_traced(self, record: JobTraced) -> None:
        """Keep the times of a job as examples, with the span of its latest attempt; if it has none, of its request."""
        counts = self.jobs.get(record.endpoint) or self._other_jobs()
        latest = record.attempts[-1] if record.attempts else None
        trace_id = record.trace.trace_id
        span_id = record.trace.span_id if latest is None else record.trace.attempt_id(latest.number)
        counts.queue.exemplify(record.queue_seconds, trace_id, span_id)
        if record.execution_seconds is not None:
            counts.execution.exemplify(record.execution_seconds, trace_id, span_id)
        if record.first_chunk is not None and latest is not None and counts.first_chunk is not None:
            counts.first_chunk.exemplify(record.first_chunk - latest.started, trace_id, span_id)

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

    def _worker_recycled(self, record: WorkerRecycled) -> None:
        self._pool(record.pool).recycles[record.reason] += 1

    def _hook_failed(self, record: HookFailed) -> None:
        key = record.plugin, record.hook
        if key not in self.hook_failures and (len(self.hook_failures) >= MOST_HOOKS or not all(map(_is_plain, key))):
            key = OTHER, OTHER
        self.hook_failures[key] = self.hook_failures.get(key, 0) + 1

    # ---- names that are not known beforehand

    def _job_counts(self, *, is_stream: bool, is_batched: bool) -> JobCounts:
        return JobCounts(self._codes, self._bounds, is_stream=is_stream, is_batched=is_batched)

    def _other_jobs(self) -> JobCounts:
        if OTHER not in self.jobs:
            self.jobs[OTHER] = self._job_counts(is_stream=False, is_batched=False)
        return self.jobs[OTHER]

    def _other_responses(self, name: str) -> ResponseCounts:
        """Return the counts of a route seen for the first time, or of all paths that match nothing."""
        if not _is_plain(name) or len(self.responses) >= self._most_responses:
            name = OTHER
        return self.responses.setdefault(name, ResponseCounts(self._bounds))

    def _pool(self, name: str) -> PoolCounts:
        return self.pools.get(name) or self.pools.setdefault(OTHER, PoolCounts(self._bounds))


def _is_plain(name: str) -> bool:
    """Return whether a name can be a label's value: a lone surrogate, for example, could not even be encoded."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable()


def answer_codes() -> tuple[str, ...]:
    """Return the codes that a job can end with: ``ok`` and the codes of all errors, those of plug-ins included."""
    return ("ok", *sorted({error.code for error in _all_errors() if not issubclass(error, DeclarationError)}))


def failure_codes() -> frozenset[str]:
    """Return the codes of errors whose status is 500 or above."""
    return frozenset(error.code for error in _all_errors() if error.status >= 500)


def _all_errors() -> list[type[PenstockError]]:
    return [PenstockError, *_subclasses(PenstockError)]


def _subclasses(kind: type[PenstockError]) -> Iterator[type[PenstockError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
