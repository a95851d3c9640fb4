"""Counts over the last seconds, in constant memory and constant time."""

from __future__ import annotations

from typing import Final

BUCKETS: Final = 10
"""The window moves by a tenth of its length at a time, so its oldest call is between 9 and 10 tenths old at most."""


class CallWindow:
    """The number of recent calls, of those that failed, and of those that were slow.

    The window is a ring of buckets, each with the counts of a tenth of the time: a call costs one addition, and a bad
    one a few more, at any rate. A ring of single calls would have to be as long as the highest rate needs.

    Parameters
    ----------
    seconds:
        Length of the window.
    """

    __slots__ = ("_at", "_calls", "_failed", "_per_second", "_slow", "_tick", "_until", "failed", "slow")

    def __init__(self, seconds: float) -> None:
        self._per_second = BUCKETS / seconds
        self._tick = 0
        self._until = 0.0  # the instant at which the latest bucket ends
        self.clear()

    def __repr__(self) -> str:
        return f"<CallWindow: {self.calls} calls, {self.failed} failed, {self.slow} slow>"

    def clear(self) -> None:
        """Forget all calls."""
        self.failed = self.slow = 0
        self._calls = [0] * BUCKETS
        self._failed = [0] * BUCKETS
        self._slow = [0] * BUCKETS
        self._at = self._tick % BUCKETS

    @property
    def calls(self) -> int:
        """The number of recent calls. Only bad calls ask for it."""
        return sum(self._calls)

    def add(self, now: float, *, failed: bool = False, slow: bool = False) -> None:
        """Count one call that has ended."""
        if now >= self._until:  # if the clock stepped back, the call counts in the latest bucket
            self._move_to(int(now * self._per_second))
        at = self._at
        self._calls[at] += 1
        if failed:
            self.failed += 1
            self._failed[at] += 1
        if slow:
            self.slow += 1
            self._slow[at] += 1

    def _move_to(self, tick: int) -> None:
        for passed in range(max(self._tick + 1, tick - BUCKETS + 1), tick + 1):
            at = passed % BUCKETS
            self.failed -= self._failed[at]
            self.slow -= self._slow[at]
            self._calls[at] = self._failed[at] = self._slow[at] = 0
        self._tick = tick
        self._at = tick % BUCKETS
        self._until = (tick + 1) / self._per_second
