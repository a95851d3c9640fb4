"""One rate: checked for each request, and reported in the response.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11: lists of strings with parameters, in the syntax of
RFC 9651. Everything in them is made from our own numbers and names; no text from a caller gets in.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

from limits import RateLimitItem
from limits.strategies import RateLimiter

from penstock_ratelimit.memory import LocalFixedWindows


class Quota(RateLimitItem):
    """A number of requests in a number of seconds, with keys that are cheap to build.

    Parameters
    ----------
    amount:
        Requests that are allowed in the period.
    seconds:
        Length of the period.
    prefix:
        Prefix of the keys.
    """

    __slots__ = ("_prefix", "_suffix", "seconds")

    def __init__(self, amount: int, seconds: int, prefix: str = "") -> None:
        super().__init__(amount)
        self.seconds = seconds
        self._prefix = prefix
        self._suffix = f"/{amount}/{seconds}"

    def get_expiry(self) -> int:
        """Return the length of the period in seconds."""
        return self.seconds

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """Return the key of a caller."""
        return f"{self._prefix}{identifiers[0]}{self._suffix}"  # type: ignore[str-bytes-safe] # ours are all str

    def __str__(self) -> str:
        return f"{self.amount} request{'s' if self.amount > 1 else ''} in {self.seconds} s"

    def __repr__(self) -> str:
        return f"<Quota {self}>"


class Reading(NamedTuple):
    """The result of counting one request.

    Attributes
    ----------
    admitted:
        True if the request may pass.
    seconds:
        Seconds after which more requests may pass, rounded up to whole ones.
    item:
        The item of this rate in ``RateLimit``.
    """

    admitted: bool
    seconds: int
    item: str


class Rate:
    """A quota, its counter and its name.

    Parameters
    ----------
    quota:
        The number of requests in a period.
    limiter:
        Counts the requests.
    clock:
        The clock of the limiter's storage.
    name:
        The name of the rate in the response.
    partition:
        The endpoint, if its requests are counted separately; or "".

    Attributes
    ----------
    policy:
        The item of this rate in ``RateLimit-Policy``.
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
        """Count a request if it may pass."""
        now = self._clock()
        if self._is_local:
            admitted, reset, remaining = self._limiter.hit_and_read(self.quota, caller, now)
        else:
            admitted = self._limiter.hit(self.quota, caller)
            reset, remaining = self._limiter.get_window_stats(self.quota, caller)
            now = self._clock()
        # Redis rounds to seconds, and other requests may have been counted between the two queries.
        seconds = max(1, min(ceil(reset - now), self.quota.seconds))
        if not admitted or remaining < 0:
            remaining = 0
        return Reading(admitted, seconds, f'"{self.name}";r={remaining};t={seconds}{self._key}')
