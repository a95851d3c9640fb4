"""A clock that stands still until it is moved, for counts that must not depend on how long anything takes."""

from __future__ import annotations

import time


class FixedClock:
    """The time, in seconds. Install it before Penstock is imported, whose modules import the functions of ``time``."""

    def __init__(self) -> None:
        self._now = 1_000_000.0

    def read(self) -> float:
        """Return the present instant."""
        return self._now

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def install(self) -> None:
        """Replace the clocks of this process. Timers of event loops then fire only if the clock is moved."""
        for name in ("time", "monotonic", "perf_counter"):
            setattr(time, name, self.read)
