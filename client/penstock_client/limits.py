"""The client's own limits: connections, calls at a time, and requests per second."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a client may use.

    Raises
    ------
    ValueError
        If a value is not above 0.
    """

    max_connections: int = 100
    """Connections at a time."""
    keepalive: int = 20
    """Connections kept while they are not in use."""
    keepalive_expiry: float = 60.0
    """The seconds that they are kept: less than the server's 75, so that no request meets a closing connection."""
    max_concurrent: int | None = None
    """Calls at a time. A stream counts until it is closed."""
    rate: float | None = None
    """Requests per second, retries included."""
    burst: int = 1
    """The requests that may be sent at once after a pause."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"Limits({name}={value!r}): give a number above 0")


class RateBucket:
    """The instants at which requests may be sent, reserved in their order.

    Parameters
    ----------
    rate:
        Requests per second.
    burst:
        The requests that may be sent at once after a pause.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._interval = 1.0 / rate
        self._slack = (burst - 1) * self._interval
        self._next = float("-inf")
        self._lock = threading.Lock()

    def reserve(self, now: float, deadline: float) -> float | None:
        """Reserve the next instant and return the seconds until it; None, and reserve none, if it is too late."""
        with self._lock:
            instant = max(now, self._next - self._slack)
            if instant >= deadline:
                return None
            self._next = max(now, self._next) + self._interval
            return instant - now
