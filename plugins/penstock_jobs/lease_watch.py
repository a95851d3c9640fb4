"""The lease of one engine on its own clock: it stops its work before another engine may begin the same."""

from __future__ import annotations

import math


class LeaseWatch:
    """The time that is left of a lease.

    An instant counts from before the sign of life was sent: the store cannot have noted it earlier.

    Parameters
    ----------
    lease:
        The length in seconds.
    """

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self._renewed = -math.inf
        self._next_beat = -math.inf

    def __repr__(self) -> str:
        return f"<LeaseWatch of {self.lease:g} s, renewed at {self._renewed:.3f}>"

    @property
    def interval(self) -> float:
        """The seconds between two beats: five may be lost."""
        return self.lease / 6

    def renew(self, sent_at: float) -> None:
        """Note that the store has taken the sign of life that was sent at this instant."""
        self._renewed = max(self._renewed, sent_at)

    def end(self) -> None:
        """Note that the store has given the jobs away."""
        self._renewed = -math.inf

    def is_beat_due(self, now: float) -> bool:
        """Return whether to send a sign of life now; it is not due again before the interval has passed."""
        if now < self._next_beat:
            return False
        self._next_beat = now + self.interval
        return True

    def may_claim(self, now: float) -> bool:
        """Return whether the lease is fresh enough for new jobs: at most half of it has passed."""
        return now - self._renewed <= self.lease / 2

    def is_lost(self, now: float) -> bool:
        """Return whether other engines may have the jobs."""
        return now - self._renewed >= self.lease
