"""The settings of retries, and the budget that all calls of a client share."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

JITTER: Final = 0.1
"""The largest share that is added to a ``Retry-After``, so that callers do not come back together."""


@dataclass(frozen=True, kw_only=True)
class Retries:
    """The number of times that a failed call is tried again, and the waits before.

    The wait before retry ``n`` is a random part of ``min(cap, base * 2 ** n)``, with ``n`` from 0, unless the server
    says when to come back.

    Raises
    ------
    ValueError
        If a value is negative, infinite or NaN, or ``max_attempts`` is below 1.
    """

    max_attempts: int = 3
    """The number of requests per call, the first included; 1 turns retries off."""
    base: float = 0.5
    """The longest wait before the first retry, in seconds."""
    cap: float = 8.0
    """The longest wait before any retry, in seconds."""
    longest_wait: float = 120.0
    """The longest ``Retry-After`` that is waited for, in seconds; a longer one ends the call."""
    ratio: float = 0.1
    """The share of calls that may be retried when all of them fail."""
    rate: float = 1.0
    """The retries per second that are possible beside it, at little traffic."""
    floor: int = 10
    """The retries that are possible at the start, and again after a quiet time."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ValueError(f"Retries({field.name}={value!r}): give a number, 0 or more")
        if self.max_attempts < 1:
            raise ValueError(f"Retries(max_attempts={self.max_attempts!r}): give 1 or more; 1 turns retries off")

    def delay(self, tried: int, retry_after: float | None, rand: Callable[[], float]) -> float:
        """Return the seconds before the next request.

        Parameters
        ----------
        tried:
            The requests that were sent.
        retry_after:
            The seconds that the server asks for, if it does.
        rand:
            Returns a random number from 0 to 1.
        """
        if retry_after is not None:
            return retry_after * (1 + JITTER * rand())
        return rand() * min(self.cap, self.base * 2.0 ** (tried - 1))


class RetryBudget:
    """A token bucket that retries take from, so that a failing server is not overloaded by them.

    Each call adds ``ratio`` tokens, and each second adds ``rate`` while there are fewer than ``floor``. A retry takes
    its cost, and a call that succeeds in the end returns what its retries took.

    Parameters
    ----------
    retries:
        The settings.
    now:
        The time at the start.
    """

    def __init__(self, retries: Retries, now: float) -> None:
        self._ratio = retries.ratio
        self._rate = retries.rate
        self._floor = float(retries.floor)
        self._most = 5.0 * self._floor
        self._tokens = self._floor
        self._as_of = now
        self._lock = threading.Lock()

    @property
    def tokens(self) -> float:
        """The tokens that are left."""
        return self._tokens

    def deposit(self) -> None:
        """Add the share of one call."""
        with self._lock:
            self._tokens = min(self._most, self._tokens + self._ratio)

    def give_back(self, cost: int) -> None:
        """Return the tokens of retries that were worth it."""
        with self._lock:
            self._tokens = min(self._most, self._tokens + cost)

    def spend(self, cost: int, now: float) -> bool:
        """Take tokens; return False, and take none, if there are too few."""
        with self._lock:
            if self._tokens < self._floor:
                self._tokens = min(self._floor, self._tokens + self._rate * max(0.0, now - self._as_of))
            self._as_of = now
            if self._tokens < cost:
                return False
            self._tokens -= cost
            return True
