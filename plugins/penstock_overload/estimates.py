"""A queue's estimates for its endpoint: how long attempts take, how fast the queue drains, how long callers wait.

Each estimate costs O(1) per job and has bounded memory. Nothing here reads a clock: instants are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

_SMALLEST_STEP: Final = 1 / 16
"""The smallest relative step of a quantile estimate. A larger step follows a change faster but is noisier; 16 samples
are a sixth of a decade."""

_GAP_GAIN: Final = 1 / 16
"""The weight of the latest gap in the moving average. Unlike a quantile, a mean must be smoothed over a heavy tail."""

DOUBT_AFTER: Final = 32
"""An estimate not confirmed by an attempt for this many times its own length is doubted: the next job is admitted.

Otherwise one slow attempt, such as a cold first one, could refuse every job with a deadline forever, since a refused
job yields no new measurement. One probe in 32 is at most 3 % of the work.
"""


class Quantile:
    """A quantile of a stream of positive numbers, by stochastic approximation (Robbins and Monro, 1951).

    The estimate moves up or down by a fraction of itself, depending only on which side of it the number lies. A distant
    number moves it no further than a near one, so a heavy tail does not affect it. The first steps are larger.

    Parameters
    ----------
    quantile:
        The quantile to estimate: 0.5 is the median.
    """

    __slots__ = ("_quantile", "_step", "value")

    def __init__(self, quantile: float) -> None:
        self.value = 0.0  # unknown
        self._quantile = quantile
        self._step = 1.0

    def add(self, number: float) -> None:
        """Update the estimate with a number."""
        step = self._step
        if step > _SMALLEST_STEP:
            self._step = step / (1 + step)  # 1, 1/2, 1/3 ...
        if number > self.value:
            self.value = min(number, self.value * (1 + 2 * step * self._quantile)) if self.value else number
        elif number < self.value:
            self.value = max(number, self.value / (1 + 2 * step * (1 - self._quantile)))


class Executions:
    """The expected duration of an attempt, by batch size: sizes between two powers of two share an estimate.

    Parameters
    ----------
    quantile:
        The quantile of the durations that is expected.
    """

    __slots__ = ("_by_size", "_last", "_quantile", "_single")

    def __init__(self, quantile: float = 0.25) -> None:
        self._quantile = quantile
        self._single = Quantile(quantile)  # for jobs that run alone, as most do
        self._by_size: dict[int, Quantile] = {}  # by the number of binary digits of the size: a dozen at most
        self._last = -math.inf  # when the latest attempt ended

    def learn(self, jobs: int, seconds: float, now: float) -> None:
        """Record that an attempt of ``jobs`` jobs has ended after ``seconds``."""
        self._last = now
        if jobs == 1:
            self._single.add(seconds)
        else:
            self._by_size.setdefault(jobs.bit_length(), Quantile(self._quantile)).add(seconds)

    def expected(self, jobs: int, now: float) -> float:
        """Return the expected seconds of an attempt of ``jobs`` jobs; 0 if that is unknown or doubted."""
        seconds = self._single.value if jobs == 1 else self._of_batch(jobs.bit_length())
        return 0.0 if now - self._last > DOUBT_AFTER * seconds else seconds

    def expected_alone(self, now: float) -> float:
        """Return the expected seconds of an attempt of one job; 0 if that is unknown or doubted."""
        seconds = self._single.value
        return 0.0 if now - self._last > DOUBT_AFTER * seconds else seconds

    def _of_batch(self, digits: int) -> float:
        known = [size for size in self._by_size if size <= digits]
        return self._by_size[max(known)].value if known else self._single.value


class DrainRate:
    """The rate at which a queue gets shorter, as the seconds between two starts while other jobs wait.

    Attributes
    ----------
    gap:
        The moving average of these seconds; 0 if it is unknown.
    """

    __slots__ = ("_last", "gap")

    def __init__(self) -> None:
        self.gap = 0.0
        self._last = -1.0  # when a job was last taken and others stayed; negative if the queue has been empty since

    def took(self, now: float, left: int) -> None:
        """Record that a job was taken to be run, and ``left`` jobs stay in the queue."""
        if self._last >= 0.0:
            gap = now - self._last
            self.gap = self.gap + _GAP_GAIN * (gap - self.gap) if self.gap else gap
        self._last = now if left else -1.0

    def emptied(self) -> None:
        """Record that the queue is empty, so the time to the next start is not a measurement."""
        self._last = -1.0


_FIRST: Final = 0.01  # seconds; a shorter wait is not evidence of patience
_RATIO: Final = 1.05  # from one bin to the next: exact enough, and 237 bins reach 1000 s
_BINS: Final = 237
_PER_LOG: Final = 1 / math.log(_RATIO)
_EDGES: Final = [0.0, *(_FIRST * _RATIO**power for power in range(_BINS))]
_ENOUGH: Final = 8
"""The number of callers that must be seen to leave, or to stay, before that counts as a habit."""
_SURE: Final = 4 * _ENOUGH
"""The number of callers, nearly all of whom must leave, before other jobs are shed: a mistake costs more here."""
_MEMORY: Final = 1024  # jobs; when twice as many have been counted, all counts are halved
_MOST_MAY_LEAVE: Final = 0.05
_WORTH_IT: Final = 0.1  # shed only if nine of ten would leave: with less certainty, patient callers would lose out


def _bin(age: float) -> int:
    """Return the index of the bin that holds an age."""
    return 0 if age < _FIRST else min(_BINS, 1 + int(math.log(age / _FIRST) * _PER_LOG))


class Patience:
    """An estimate of how long callers wait before they hang up, from observation and without configuration.

    A caller that hung up has shown its patience; a caller that was served has shown a lower bound of it. Together they
    determine the fraction of callers still waiting at each age: the product-limit estimate (Kaplan and Meier, 1958),
    in bins whose edges grow by 5 %, with older evidence fading.

    Attributes
    ----------
    hangs_up:
        True once enough callers have hung up to call it a habit.
    endured:
        The longest wait that nearly all callers (95 %) have been seen to endure, in seconds.
    hopeless_from:
        The age from which nine of ten callers leave before their jobs are done, in seconds. Infinite if there is no
        such age: if callers never hang up, or if some are patient.
    """

    __slots__ = ("_due", "_hung", "_left", "_seen", "_total", "endured", "hangs_up", "hopeless_from")

    def __init__(self) -> None:
        self._left = [0.0] * (_BINS + 1)  # the number of jobs that left the queue at each age, for any reason
        self._hung = [0.0] * (_BINS + 1)  # the number of these jobs whose callers had hung up
        self._total = 0.0
        self._seen = 0  # jobs since the last conclusion
        self.hangs_up = False
        self.endured = 0.0
        self.hopeless_from = math.inf

    def observe_wait(self, age: float, *, hung_up: bool) -> bool:
        """Record that a job has left the queue at this age; return whether it is time to call ``conclude``."""
        index = _bin(age)
        self._left[index] += 1
        self._hung[index] += hung_up
        self._total += 1
        self._seen += 1
        return self._seen >= _ENOUGH and self._seen * 16 >= self._total

    def conclude(self, execution: float, waiting: Iterable[float]) -> None:
        """Update the attributes from what has been observed.

        Parameters
        ----------
        execution:
            The seconds that the next attempt is expected to take.
        waiting:
            The ages of the jobs that still wait. Without them patient callers would be missed, since they leave last.
        """
        self._seen = 0
        at_risk, stay = self._stay(waiting)
        self.endured = 0.0
        for index in range(1, _BINS + 1):
            if at_risk[index] < _ENOUGH or stay[index] < 1 - _MOST_MAY_LEAVE:
                break
            self.endured = _EDGES[index]
        self.hangs_up = sum(self._hung) >= _ENOUGH
        self.hopeless_from = self._first_hopeless(at_risk, stay, execution) if self.hangs_up else math.inf
        if self._total >= 2 * _MEMORY:
            self._total /= 2
            self._left = [count / 2 for count in self._left]
            self._hung = [count / 2 for count in self._hung]

    def _stay(self, waiting: Iterable[float]) -> tuple[list[float], list[float]]:
        """Return, for each bin, the number of jobs that reached it and the fraction of callers that stay to its end."""
        at_risk = self._left.copy()
        for age in waiting:
            at_risk[_bin(age)] += 1
        for index in range(_BINS - 1, -1, -1):
            at_risk[index] += at_risk[index + 1]
        stay, fraction = [], 1.0
        for hung, reached in zip(self._hung, at_risk, strict=True):
            if hung:
                fraction *= 1 - hung / reached
            stay.append(fraction)
        return at_risk, stay

    def _first_hopeless(self, at_risk: list[float], stay: list[float], execution: float) -> float:
        """Return the first age from which too few callers stay to the end of an execution to justify it."""
        end = 1
        for index in range(1, _BINS):
            until = _EDGES[index + 1] + execution
            while end < _BINS and _EDGES[end + 1] <= until:
                end += 1
            if at_risk[index] < _SURE:
                return math.inf
            if stay[end] < _WORTH_IT * stay[index - 1]:
                return max(_EDGES[end] - execution, _EDGES[1])
        return math.inf
