"""The counts of a lane: what has happened to its jobs, noted in place, and handed over for many jobs at a time."""

from __future__ import annotations

from collections import Counter, deque
from statistics import quantiles
from typing import Any, Final, NamedTuple

MOST_UNREPORTED: Final = 256
"""Answered jobs that may wait to be reported: enough to be efficient, few enough to take a tenth of a millisecond."""
_SAMPLES: Final = 1024
"""The quantiles are taken from this number of the latest times."""

_Answered = tuple[str, float | None, float | None, float | None]
"""An answered job: its code; its seconds in the queue, in the user's code, and to the first chunk of a stream."""


class RecentCounts(NamedTuple):
    """The events of a lane since they were last taken.

    Attributes
    ----------
    codes:
        ``ok`` or the code of the error, for each job that was answered.
    queue_seconds:
        For each of those jobs that has waited: until its latest attempt, or its answer.
    execution_seconds:
        For each that has started: the time of its latest attempt in the user's code.
    first_chunk_seconds:
        For each stream with a chunk: from the start of its latest execution to that chunk.
    useful_seconds, wasted_seconds:
        The time of attempts in the user's code, by whether a caller still waited for it.
    batch_sizes:
        The number of attempts by their number of jobs; empty for a lane without batching.
    """

    codes: list[str]
    queue_seconds: list[float]
    execution_seconds: list[float]
    first_chunk_seconds: list[float]
    useful_seconds: float
    wasted_seconds: float
    batch_sizes: Counter[int]


class LaneCounts:
    """The counts of one lane. Only the scheduler writes to them.

    Parameters
    ----------
    is_batched:
        True if the sizes of batches are counted.

    Attributes
    ----------
    outcomes:
        The number of answered and refused jobs by ``ok`` or the code of the error.
    useful_seconds, wasted_seconds:
        The time of all attempts in the user's code: while a caller waited, and the rest, in which the callers had left
        or the worker was lost.
    batch_sizes:
        The number of ended attempts by their number of jobs, if they are counted.
    """

    __slots__ = (
        "_answered",
        "_execution_times",
        "_is_batched",
        "_queue_times",
        "_reported",
        "batch_sizes",
        "outcomes",
        "useful_seconds",
        "wasted_seconds",
    )

    def __init__(self, *, is_batched: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self.useful_seconds = 0.0
        self.wasted_seconds = 0.0
        self.batch_sizes: Counter[int] = Counter()
        self._is_batched = is_batched
        self._answered: list[_Answered] = []  # since the counts were last taken
        self._reported: tuple[float, float, Counter[int]] = 0.0, 0.0, Counter()  # the seconds and batches by then
        self._queue_times: deque[float] = deque(maxlen=_SAMPLES)
        self._execution_times: deque[float] = deque(maxlen=_SAMPLES)

    def record(
        self,
        code: str,
        queue_seconds: float | None,
        execution_seconds: float | None,
        first_chunk_seconds: float | None = None,
    ) -> bool:
        """Count an answered job; return whether it is time to report the counts."""
        self.outcomes[code] += 1
        # The rest can wait until it is done for many jobs at once, by ``take``.
        answered = self._answered
        answered.append((code, queue_seconds, execution_seconds, first_chunk_seconds))
        return len(answered) >= MOST_UNREPORTED

    def record_attempt(self, jobs: int, useful: int, seconds: float) -> None:
        """Count an attempt that has ended, or is lost; ``useful`` of its jobs still had a caller."""
        if useful == jobs:
            self.useful_seconds += seconds
        else:  # if the callers of half the jobs of a batch have left, half of its time was useful
            share = seconds * useful / jobs
            self.useful_seconds += share
            self.wasted_seconds += seconds - share
        if self._is_batched:
            self.batch_sizes[jobs] += 1

    @property
    def has_news(self) -> bool:
        """True if anything was counted since ``take`` was last called."""
        return bool(self._answered) or self._reported != (self.useful_seconds, self.wasted_seconds, self.batch_sizes)

    def take(self) -> RecentCounts:
        """Return what was counted since the last call."""
        useful, wasted, sizes = self._reported
        self._reported = self.useful_seconds, self.wasted_seconds, self.batch_sizes.copy()
        answered, self._answered = self._answered, []
        queue_times, execution_times = _times(answered)
        self._queue_times += queue_times
        self._execution_times += execution_times
        return RecentCounts(
            codes=[code for code, *_ in answered],
            # A job that was shed as soon as it arrived has not waited.
            queue_seconds=[waited or 0.0 for _, waited, ran, _ in answered if waited or ran is not None],
            execution_seconds=execution_times,
            first_chunk_seconds=[first for *_, first in answered if first is not None],
            useful_seconds=self.useful_seconds - useful,
            wasted_seconds=self.wasted_seconds - wasted,
            batch_sizes=self.batch_sizes - sizes,
        )

    def statistics(self) -> dict[str, Any]:
        """Return the counts and quantiles, ready for JSON. Times are in seconds."""
        queue_times, execution_times = _times(self._answered)
        batches = {str(size): number for size, number in sorted(self.batch_sizes.items())}
        return {
            "totals": dict(self.outcomes),
            "useful_seconds": round(self.useful_seconds, 6),
            "wasted_seconds": round(self.wasted_seconds, 6),
            "queue_seconds": _quantiles([*self._queue_times, *queue_times]),
            "execution_seconds": _quantiles([*self._execution_times, *execution_times]),
        } | ({"batch_sizes": batches} if self._is_batched else {})


def _times(answered: list[_Answered]) -> tuple[list[float], list[float]]:
    """Return the times in the queue and in the user's code of those jobs that were started."""
    started = [(waited or 0.0, ran) for _, waited, ran, _ in answered if ran is not None]
    return [waited for waited, _ in started], [ran for _, ran in started]


def _quantiles(times: list[float]) -> dict[str, float] | None:
    times = times[-_SAMPLES:]
    if not times:
        return None
    cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else [times[0]] * 99
    return {"p50": round(cuts[49], 6), "p90": round(cuts[89], 6), "p99": round(cuts[98], 6)}
