"""The referee of the counts: it derives what each lane should have counted from the commands and events alone."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from penstock.scheduler import Attempt, Job, Lane
from penstock.scheduler.reports import AnyReport, CountsReport


class CountReferee:
    """The counts of one scenario, to be compared with those that are reported."""

    def __init__(self) -> None:
        self._running: dict[int, dict[int, Attempt]] = defaultdict(dict)  # by worker and by id
        self._codes: dict[Lane, Counter[str]] = defaultdict(Counter)
        self._useful: dict[Lane, float] = defaultdict(float)
        self._wasted: dict[Lane, float] = defaultdict(float)
        self._sizes: dict[Lane, Counter[int]] = defaultdict(Counter)

    def see_begun(self, attempt: Attempt) -> None:
        """Note that an attempt has begun."""
        self._running[attempt.worker.id][attempt.id] = attempt

    def see_end(self, attempt_id: int, seconds: float, live: int, *, has_begun: bool) -> None:
        """Note that an attempt has ended; ``live`` of its jobs still waited."""
        for attempts in self._running.values():
            attempt = attempts.pop(attempt_id, None)
            if attempt is not None and has_begun:
                self._add(attempt, seconds, live)

    def see_loss(self, worker: int, now: float) -> None:
        """Note that a worker is gone, with all that it was running."""
        for attempt in self._running.pop(worker, {}).values():
            self._add(attempt, now - attempt.started, 0)

    def _add(self, attempt: Attempt, seconds: float, live: int) -> None:
        size = len(attempt.jobs)
        self._useful[attempt.lane] += seconds * live / size
        self._wasted[attempt.lane] += seconds * (size - live) / size
        if attempt.lane.batching is not None:
            self._sizes[attempt.lane][size] += 1

    def see_answer(self, job: Job) -> None:
        """Note that a job is answered. A refused one never was a job."""
        if job.admitted:
            self._codes[job.lane][getattr(job.outcome, "code", "ok")] += 1

    def problem(self, lanes: Iterable[Lane], reports: Iterable[AnyReport]) -> str | None:
        """Return in which lane the reports do not add up to what happened; None if they do."""
        reported: dict[Lane, list[CountsReport]] = defaultdict(list)
        for report in reports:
            if isinstance(report, CountsReport):
                reported[report.lane].append(report)
        for lane in lanes:
            counts = [report.counts for report in reported[lane]]
            codes = sum((Counter(one.codes) for one in counts), Counter[str]())
            sizes = sum((one.batch_sizes for one in counts), Counter[int]())
            useful = math.fsum(one.useful_seconds for one in counts)
            wasted = math.fsum(one.wasted_seconds for one in counts)
            if codes != self._codes[lane] or sizes != self._sizes[lane]:
                return f"{lane!r} reports {codes} and {sizes}, not {self._codes[lane]} and {self._sizes[lane]}"
            if not (_is_close(useful, self._useful[lane]) and _is_close(wasted, self._wasted[lane])):
                return f"{lane!r} reports {useful} s and {wasted} s, not {self._useful[lane]} and {self._wasted[lane]}"
        return None


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6)
