"""One rate: asked for each request, and told in the response.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11: lists of strings with parameters, as RFC 9651 writes
them. Everything in them is made here from numbers and from names of ours; nothing that a caller says gets in.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from limits import RateLimitItem

from penstock_ratelimit.memory import LocalFixedWindows

if TYPE_CHECKING:
    from limits.strategies import RateLimiter


class Quota(RateLimitItem):
    """An amount in a number of seconds, with keys that cost little to make.

    Parameters
    ----------
    amount, seconds:
        So many requests in so many seconds.
    prefix:
        What the keys begin with.
    """

    __slots__ = ("_prefix", "_suffix", "seconds")

    def __init__(self, amount: int, seconds: int, prefix: str = "") -> None:
        super().__init__(amount)
        self.seconds = seconds
        self._prefix = prefix
        self._suffix = f"/{amount}/{seconds}"

    def get_expiry(self) -> int:
        """Seconds in which the amount counts."""
        return self.seconds

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """The key of a caller."""
        return f"{self._prefix}{identifiers[0]}{self._suffix}"  # type: ignore[str-bytes-safe] # ours are all str

    def __str__(self) -> str:
        return f"{self.amount} request{'s' if self.amount > 1 else ''} in {self.seconds} s"

    def __repr__(self) -> str:
        return f"<Quota {self}>"


class Reading(NamedTuple):
    """What a rate says of one request.

    Attributes
    ----------
    admitted:
        Whether it may pass.
    seconds:
        After how many seconds more may come; whole ones, rounded up.
    told:
        Its part of ``RateLimit``.
    """

    admitted: bool
    seconds: int
    told: str


class Rate:
    """A quota, what counts it, and what it is called.

    Parameters
    ----------
    quota, limiter:
        What is counted, and how.
    clock:
        The clock that the limiter's storage counts by.
    name:
        What callers know it by.
    partition:
        Where requests of that name are counted apart, what they are counted for, such as an endpoint; or "".

    Attributes
    ----------
    policy:
        Its part of ``RateLimit-Policy``.
    """

    def __init__(
        self, quota: Quota, limiter: RateLimiter, clock: Callable[[], float], name: str, partition: str = ""
    ) -> None:
        self.quota = quota
        self._limiter: Any = limiter
        self._is_local = isinstance(limiter, LocalFixedWindows)
        self._clock = clock
        encoded = base64.b64encode(partition.encode()).decode()
        self._key = f";pk=:{encoded}:" if partition else ""
        self.name = name
        self.policy = f'"{name}";q={quota.amount};w={quota.seconds}{self._key}'

    def __repr__(self) -> str:
        return f"<Rate {self.policy}>"

    def hit(self, caller: str) -> Reading:
        """Count a request, if it may pass."""
        now = self._clock()
        if self._is_local:
            admitted, reset, remaining = self._limiter.hit_and_look(self.quota, caller, now)
        else:
            admitted = self._limiter.hit(self.quota, caller)
            reset, remaining = self._limiter.get_window_stats(self.quota, caller)
            now = self._clock()
        # Redis rounds to seconds, and others may have come between the two questions.
        seconds = max(1, min(ceil(reset - now), self.quota.seconds))
        if not admitted or remaining < 0:
            remaining = 0
        return Reading(admitted, seconds, f'"{self.name}";r={remaining};t={seconds}{self._key}')
