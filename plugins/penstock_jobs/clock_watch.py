"""Leaps of the clock on which leases are measured, if it is another host's: it is compared with the own one."""

from __future__ import annotations

import math
from typing import Final

LEAP_SHARE: Final = 1 / 6
"""A leap over this share of a lease counts. Owners beat this often: after a shorter one no living owner looks dead."""


class ClockWatch:
    """Tells whether the ages of beats can be relied on.

    After a leap they cannot: the beats of all owners look too old, or are ahead. Those that live have beaten again
    before a lease has passed. Leaps before the first look go unnoticed.
    """

    def __init__(self) -> None:
        self._distance: float | None = None
        self._steady_from = -math.inf

    def __repr__(self) -> str:
        return f"<ClockWatch: the distance is {self._distance}, steady from {self._steady_from}>"

    def is_steady(self, theirs: float, ours: float, lease: float) -> bool:
        """Compare the clocks; return whether there was no leap within the last lease.

        Parameters
        ----------
        theirs, ours:
            The time on the clock of the leases, and on the monotonic clock of this process, in seconds.
        lease:
            The length of a lease in seconds.
        """
        distance = theirs - ours
        if self._distance is not None and abs(distance - self._distance) > lease * LEAP_SHARE:
            self._steady_from = ours + lease
        self._distance = distance
        return ours >= self._steady_from
