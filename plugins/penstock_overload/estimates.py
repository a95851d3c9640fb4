"""What a queue learns of its endpoint: how long attempts take, how fast it drains, how long callers wait.

All of it costs O(1) for each job and is bounded in memory. Nothing here has a clock: instants are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

_SMALLEST_STEP: Final = 1 / 16
"""Of an estimate's moves. Larger is quicker to follow a change and noisier; 16 samples are a sixth of a decade."""

_GAP_GAIN: Final = 1 / 16
"""Of the latest gap in the moving average: a mean, unlike the quantile, has to be smoothed over a heavy tail."""

DOUBT_AFTER: Final = 32
"""An estimate that no attempt has confirmed for so many times its own length is doubted: the next job gets through.

Else one slow attempt, such as a cold first one, could shut the door on all deadlines for ever, for a job that is
refused teaches nothing. A probe in 32 is 3 % of the work at most.
"""


class Quantile:
    """A quantile of a stream of positive numbers, by stochastic approximation (Robbins and Monro, 1951).

    It moves up or down by a share of itself, whichever side the number is on, and so is not moved further by a number
    that is further away: a heavy tail does not touch it. The first steps are larger.

    Parameters
    ----------
    quantile:
        Which one: 0.5 is the median.
    """

    __slots__ = ("_quantile", "_step", "value")

    def __init__(self, quantile: float) -> None:
        self.value = 0.0  # nothing is known
        self._quantile = quantile
        self._step = 1.0

    def add(self, number: float) -> None:
        """Take a number into account."""
        step = self._step
        if step > _SMALLEST_STEP:
            self._step = step / (1 + step)  # 1, 1/2, 1/3 ...
        if number > self.value:
            self.value = min(number, self.value * (1 + 2 * step * self._quantile)) if self.value else number
        elif number < self.value:
            self.value = max(number, self.value / (1 + 2 * step * (1 - self._quantile)))


class Executions:
    """How long an attempt takes, by the size of its batch: the sizes from one power of two to the next are alike.

    Parameters
    ----------
    quantile:
        Which quantile is what is expected.
    """

    __slots__ = ("_by_size", "_last", "_quantile", "_single")

    def __init__(self, quantile: float = 0.25) -> None:
        self._quantile = quantile
        self._single = Quantile(quantile)  # of jobs that run alone, which most do
        self._by_size: dict[int, Quantile] = {}  # by the number of binary digits: a dozen at most
        self._last = -math.inf  # when one has ended

    def learn(self, jobs: int, seconds: float, now: float) -> None:
        """An attempt has ended."""
        self._last = now
        if jobs == 1:
            self._single.add(seconds)
        else:
            self._by_size.setdefault(jobs.bit_length(), Quantile(self._quantile)).add(seconds)

    def expected(self, jobs: int, now: float) -> float:
        """Seconds that an attempt of so many jobs should take; 0 where that is not known, or is doubted."""
        seconds = self._single.value if jobs == 1 else self._of_batch(jobs.bit_length())
        return 0.0 if now - self._last > DOUBT_AFTER * seconds else seconds

    def _of_batch(self, digits: int) -> float:
        known = [size for size in self._by_size if size <= digits]
        return self._by_size[max(known)].value if known else self._single.value


class Drain:
    """How fast the queue gets shorter: the seconds from one job's start to the next, while others wait."""

    __slots__ = ("_last", "gap")

    def __init__(self) -> None:
        self.gap = 0.0  # not known
        self._last = -1.0  # when one was taken out and others stayed; negative: the queue has been empty since

    def took(self, now: float, left: int) -> None:
        """A job was taken out to be run, and so many are left."""
        if self._last >= 0.0:
            gap = now - self._last
            self.gap = self.gap + _GAP_GAIN * (gap - self.gap) if self.gap else gap
        self._last = now if left else -1.0

    def emptied(self) -> None:
        """Nothing waits: the time to the next start says nothing."""
        self._last = -1.0


_FIRST: Final = 0.01  # seconds; what waits for less says nothing of anybody's patience
_RATIO: Final = 1.05  # from one bin to the next: as exact as is needed, and 1000 s are 237 bins
_BINS: Final = 237
_PER_LOG: Final = 1 / math.log(_RATIO)
_EDGES: Final = [0.0, *(_FIRST * _RATIO**power for power in range(_BINS))]
_ENOUGH: Final = 8
"""Callers that must be seen to leave, or to stay, before that is taken for a habit."""
_SURE: Final = 4 * _ENOUGH
"""Callers of whom nearly all must be seen to leave, before others are shed for it: a mistake costs more here."""
_MEMORY: Final = 1024  # jobs; when twice as many are counted, all counts are halved
_MOST_MAY_LEAVE: Final = 0.05
_WORTH_IT: Final = 0.1  # shed only where nine of ten would leave: less sure, and the patient among them would pay


def _bin(age: float) -> int:
    return 0 if age < _FIRST else min(_BINS, 1 + int(math.log(age / _FIRST) * _PER_LOG))


class Patience:
    """How long callers wait before they hang up, from what they did: nobody has to say.

    A caller who hung up has shown its patience; one who was served has shown that it had at least so much. From both
    follows which share of callers is still there at each age: the product-limit estimate (Kaplan and Meier, 1958), in
    bins whose edges grow by 5 %, with older evidence fading.

    Attributes
    ----------
    endured:
        The longest wait that nearly all callers (95 %) have been seen to endure, in seconds.
    hopeless_from:
        The age from which nine of ten callers leave before their jobs are done; infinite where there is none such, as
        when nobody ever hangs up, or when some are patient.
    """

    __slots__ = ("_due", "_hung", "_left", "_seen", "_total", "endured", "hangs_up", "hopeless_from")

    def __init__(self) -> None:
        self._left = [0.0] * (_BINS + 1)  # how many jobs have gone at this age, for whatever reason
        self._hung = [0.0] * (_BINS + 1)  # of those, how many have lost their callers
        self._total = 0.0
        self._seen = 0  # since the last conclusion
        self.hangs_up = False  # whether anybody does
        self.endured = 0.0
        self.hopeless_from = math.inf

    def saw(self, age: float, *, hung_up: bool) -> bool:
        """A job has left the queue at this age. Return whether it is time to draw conclusions."""
        place = _bin(age)
        self._left[place] += 1
        self._hung[place] += hung_up
        self._total += 1
        self._seen += 1
        return self._seen >= _ENOUGH and self._seen * 16 >= self._total

    def conclude(self, execution: float, waiting: Iterable[float]) -> None:
        """Draw conclusions.

        Parameters
        ----------
        execution:
            Seconds that the next attempt is expected to take.
        waiting:
            The ages of the jobs that still wait. Without them the patient would not be heard, for they leave last.
        """
        self._seen = 0
        at_risk, stay = self._stay(waiting)
        self.endured = 0.0
        for place in range(1, _BINS + 1):
            if at_risk[place] < _ENOUGH or stay[place] < 1 - _MOST_MAY_LEAVE:
                break
            self.endured = _EDGES[place]
        self.hangs_up = sum(self._hung) >= _ENOUGH
        self.hopeless_from = self._first_hopeless(at_risk, stay, execution) if self.hangs_up else math.inf
        if self._total >= 2 * _MEMORY:
            self._total /= 2
            self._left = [count / 2 for count in self._left]
            self._hung = [count / 2 for count in self._hung]

    def _stay(self, waiting: Iterable[float]) -> tuple[list[float], list[float]]:
        """For each bin, how many have reached it, and the share of callers who stay to its end."""
        at_risk = self._left.copy()
        for age in waiting:
            at_risk[_bin(age)] += 1
        for place in range(_BINS - 1, -1, -1):
            at_risk[place] += at_risk[place + 1]
        stay, share = [], 1.0
        for hung, reached in zip(self._hung, at_risk, strict=True):
            if hung:
                share *= 1 - hung / reached
            stay.append(share)
        return at_risk, stay

    def _first_hopeless(self, at_risk: list[float], stay: list[float], execution: float) -> float:
        """The first age from which so few stay to the end of an execution that it is not worth while."""
        end = 1
        for place in range(1, _BINS):
            until = _EDGES[place + 1] + execution
            while end < _BINS and _EDGES[end + 1] <= until:
                end += 1
            if at_risk[place] < _SURE:
                return math.inf
            if stay[end] < _WORTH_IT * stay[place - 1]:
                return max(_EDGES[end] - execution, _EDGES[1])
        return math.inf
