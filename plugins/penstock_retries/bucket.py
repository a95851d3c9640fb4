"""The token bucket behind a retry budget: see ``RetryBudget``."""

from __future__ import annotations

import math
from typing import Final

KEEP_SECONDS: Final = 10.0
"""Roughly how long a token lasts. Finagle's deposits expire after the same time: a quiet day must not pay for the
retries of a bad hour."""

_WHOLE: Final = 1.0 - 1e-6
"""A whole token, less a margin: ten tenths sum to less than 1 in floats. So the reserve may go slightly below 0."""


class Bucket:
    """Tokens for the retries of one endpoint.

    It is updated only when a token is requested: admitting a job costs nothing beyond the count that the lane keeps.

    Parameters
    ----------
    ratio:
        Tokens earned by each admitted job. They decay exponentially, with a time constant of ``KEEP_SECONDS``.
    floor:
        Tokens in reserve. They refill at an even rate, within ``KEEP_SECONDS``.
    now:
        The current time, in seconds of a monotonic clock.
    """

    __slots__ = ("_admitted", "_earned", "_floor", "_ratio", "_reserve", "_since")

    def __init__(self, ratio: float, floor: int, now: float) -> None:
        self._ratio = ratio
        self._floor = floor
        self._earned = 0.0
        self._reserve = float(floor)
        self._admitted = 0  # jobs whose tokens are in the bucket already
        self._since = now

    def __repr__(self) -> str:
        return f"<Bucket: {self._earned:.1f} earned, {self._reserve:.1f} in reserve>"

    def take(self, admitted: int, now: float) -> bool:
        """Take a token if one is available; ``admitted`` is the number of jobs ever admitted."""
        self._fill(admitted, now)
        if self._earned + self._reserve < _WHOLE:
            return False
        earned = min(self._earned, 1.0)
        self._earned -= earned
        self._reserve -= 1.0 - earned
        return True

    def _fill(self, admitted: int, now: float) -> None:
        elapsed = max(0.0, now - self._since) / KEEP_SECONDS  # in units of the time constant
        # Assume that the jobs arrived evenly since the last update: the tokens of the early ones have decayed by now.
        share = -math.expm1(-elapsed) / elapsed if elapsed else 1.0
        self._earned = self._earned * math.exp(-elapsed) + self._ratio * (admitted - self._admitted) * share
        self._reserve = min(self._floor, self._reserve + self._floor * elapsed)
        self._admitted = admitted
        self._since = now
