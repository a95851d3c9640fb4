"""The breaker of one endpoint: it stops sending calls that would fail."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

_CONNECT_FAILURES: Final = 5


@dataclass(frozen=True, kw_only=True)
class BreakerSettings:
    """When the breaker of an endpoint opens, and for how long.

    Raises
    ------
    ValueError
        If a value is not above 0, or ``share`` is above 1.
    """

    calls: int = 5
    """The requests within the window below which it does not open."""
    share: float = 0.5
    """The share of them that must have failed."""
    window: float = 30.0
    """The length of the window, in seconds."""
    open_seconds: float = 5.0
    """The time that it stays open at first, in seconds; twice as long after each probe that fails."""
    longest_open: float = 60.0
    """The longest time that it stays open."""

    def __post_init__(self) -> None:
        for name in ("calls", "share", "window", "open_seconds", "longest_open"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"BreakerSettings({name}={value!r}): give a number above 0")
        if self.share > 1:
            raise ValueError(f"BreakerSettings(share={self.share!r}): give a share of 1 at most")


class Breaker:
    """The recent outcomes of one endpoint, and whether requests are sent to it.

    It opens when enough requests of the window have failed, or after five failed connections in a row. When its time is
    over, one request is the probe: its success closes the breaker, its failure opens it for twice as long. A request
    that was cancelled counts as nothing, and so does one that was sent before the breaker opened and ends while it is
    open: it is not the probe.

    Parameters
    ----------
    settings:
        When it opens, and for how long.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._seconds: deque[list[float]] = deque()  # [second, successes, failures], the oldest first
        self._connect_failures = 0
        self._open_until = 0.0
        self._open_for = 0.0  # 0.0 while it is closed
        self._has_probe = False
        self._lock = threading.Lock()

    def seconds_until_open(self, now: float) -> float:
        """Return the seconds for which no request is sent; 0.0 if one may be sent, which this does not claim."""
        if not self._open_for:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        return self._settings.open_seconds if self._has_probe else 0.0

    def admit(self, now: float) -> float:
        """Return 0.0 if a request may be sent, which its outcome must follow; otherwise the seconds until one may."""
        if not self._open_for:
            return 0.0
        with self._lock:
            seconds = self.seconds_until_open(now)
            if not seconds and self._open_for:
                self._has_probe = True
            return seconds

    def succeeded(self, now: float, *, sent: float = math.inf) -> None:
        """Count a request that the server has answered, and that was sent at the instant ``sent``."""
        with self._lock:
            self._connect_failures = 0
            if self._open_for:
                if self._is_probe(sent):
                    self._close()
                return
            self._count(now)[1] += 1

    def failed(self, now: float, *, is_connect: bool, sent: float = math.inf) -> None:
        """Count a request that the server has failed, or could not be reached with, and that was sent at ``sent``."""
        with self._lock:
            self._connect_failures = self._connect_failures + 1 if is_connect else 0
            if self._open_for:
                if self._is_probe(sent):
                    self._open(now, min(self._settings.longest_open, 2 * self._open_for))
                return
            self._count(now)[2] += 1
            bad = sum(second[2] for second in self._seconds)
            every = bad + sum(second[1] for second in self._seconds)
            if self._connect_failures >= _CONNECT_FAILURES or (
                every >= self._settings.calls and bad >= self._settings.share * every
            ):
                self._open(now, self._settings.open_seconds)

    def abandoned(self, *, sent: float = math.inf) -> None:
        """Forget a request without an outcome, which was sent at ``sent``: another one may be the probe."""
        with self._lock:
            if self._is_probe(sent):
                self._has_probe = False

    def _is_probe(self, sent: float) -> bool:
        return self._has_probe and sent >= self._open_until

    def _count(self, now: float) -> list[float]:
        second = float(int(now))
        while self._seconds and self._seconds[0][0] <= now - self._settings.window:
            self._seconds.popleft()
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        return self._seconds[-1]

    def _open(self, now: float, seconds: float) -> None:
        self._open_for = seconds
        self._open_until = now + seconds
        self._has_probe = False
        self._connect_failures = 0
        self._seconds.clear()

    def _close(self) -> None:
        self._open_for = 0.0
        self._has_probe = False
