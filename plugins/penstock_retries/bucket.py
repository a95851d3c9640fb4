"""The bucket of tokens that a retry budget is: see ``RetryBudget``."""

from __future__ import annotations

import math
from typing import Final

KEEP_SECONDS: Final = 10.0
"""About how long a token keeps. Finagle's deposits expire after as long: a calm day must not pay for a mad hour."""

_WHOLE: Final = 1.0 - 1e-6
"""Ten tenths of a token make less than 1, in floats. What is taken too much is owed."""


class Bucket:
    """Tokens for the retries of one endpoint.

    It is looked at only when a token is asked for: admitting a job costs nothing but the count that there is anyway.

    Parameters
    ----------
    ratio:
        Tokens for each admitted job. They fade, exponentially, with a time constant of ``KEEP_SECONDS``.
    floor:
        Tokens in reserve. They grow back, evenly, within ``KEEP_SECONDS``.
    now:
        The instant.
    """

    __slots__ = ("_admitted", "_earned", "_floor", "_ratio", "_reserve", "_since")

    def __init__(self, ratio: float, floor: int, now: float) -> None:
        self._ratio = ratio
        self._floor = floor
        self._earned = 0.0
        self._reserve = float(floor)
        self._admitted = 0  # jobs that have been paid for
        self._since = now

    def __repr__(self) -> str:
        return f"<Bucket: {self._earned:.1f} earned, {self._reserve:.1f} in reserve>"

    def take(self, admitted: int, now: float) -> bool:
        """Take a token, if there is one; ``admitted`` counts all jobs that there ever were."""
        self._fill(admitted, now)
        if self._earned + self._reserve < _WHOLE:
            return False
        earned = min(self._earned, 1.0)
        self._earned -= earned
        self._reserve -= 1.0 - earned
        return True

    def _fill(self, admitted: int, now: float) -> None:
        faded = max(0.0, now - self._since) / KEEP_SECONDS
        # The jobs are taken to have come evenly since the last look: the tokens of the early ones have faded by now.
        share = -math.expm1(-faded) / faded if faded else 1.0
        self._earned = self._earned * math.exp(-faded) + self._ratio * (admitted - self._admitted) * share
        self._reserve = min(self._floor, self._reserve + self._floor * faded)
        self._admitted = admitted
        self._since = now
