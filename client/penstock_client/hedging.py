"""Hedging: a slow request is sent a second time, and the first answer counts.

After "The Tail at Scale" (Dean and Barroso, 2013): the second request is sent once the first has taken longer than most
do, so few are sent, and they cut the slowest answers.
"""

from __future__ import annotations

import bisect
import math
import re
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

KEPT: Final = 200
"""The durations that a percentile is taken from: the last ones of the endpoint."""
FEWEST: Final = 20
"""The fewest durations for a percentile. With fewer, nothing is hedged."""
BURST: Final = 5.0
"""The hedges that an endpoint may have saved up."""


@dataclass(frozen=True, kw_only=True)
class Hedge:
    """When a slow request is sent a second time, and how often at most.

    Raises
    ------
    ValueError
        If ``after`` is neither seconds above 0 nor a percentile from ``"p50"`` to below ``"p100"``, or ``budget`` is
        not above 0 and at most 1.
    """

    after: float | str = "p95"
    """Seconds, or the percentile of the endpoint's last 200 requests: ``"p95"``. It needs 20 of them."""
    budget: float = 0.02
    """The share of the endpoint's calls that may be hedged."""

    def __post_init__(self) -> None:
        if self._seconds() is None and self.quantile() is None:
            raise ValueError(f'Hedge(after={self.after!r}): give seconds above 0, or a percentile such as "p95"')
        if not 0 < self.budget <= 1:
            raise ValueError(f"Hedge(budget={self.budget!r}): give a share of the calls, above 0 and up to 1")

    def _seconds(self) -> float | None:
        is_number = isinstance(self.after, int | float) and 0 < self.after < math.inf
        return float(self.after) if is_number else None

    def quantile(self) -> float | None:
        """Return the percentile as a number below 1; None for seconds."""
        found = re.fullmatch(r"p([5-9]\d(?:\.\d+)?)", self.after) if isinstance(self.after, str) else None
        return float(found[1]) / 100 if found else None


class Hedging:
    """The recent durations of one endpoint's requests, and the hedges that it may have.

    Parameters
    ----------
    hedge:
        When a request is slow, and how many may be hedged.
    """

    def __init__(self, hedge: Hedge) -> None:
        self._hedge = hedge
        self._quantile = hedge.quantile()
        self._last: deque[float] = deque()
        self._sorted: list[float] = []
        self._tokens = 1.0
        self._lock = threading.Lock()

    def begin(self) -> float:
        """Count a call, and return the seconds after which its request is slow; ``math.inf`` if that is not known."""
        with self._lock:
            self._tokens = min(BURST, self._tokens + self._hedge.budget)
            if self._quantile is None:
                return float(self._hedge.after)
            count = len(self._sorted)
            return self._sorted[int(self._quantile * count)] if count >= FEWEST else math.inf

    def spend(self) -> bool:
        """Take one hedge; return False if there is none."""
        with self._lock:
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True

    def observe(self, seconds: float) -> None:
        """Note how long a first request took, or at least took, if its hedge was quicker."""
        with self._lock:
            self._last.append(seconds)
            bisect.insort(self._sorted, seconds)
            if len(self._last) > KEPT:
                del self._sorted[bisect.bisect_left(self._sorted, self._last.popleft())]
