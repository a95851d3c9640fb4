"""One rate: checked for each request, and reported in the response.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11: lists of strings with parameters, in the syntax of
RFC 9651. Everything in them is made from our own numbers and names; no text from a caller gets in.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Any, TypeAlias

from limits import RateLimitItem
from limits.strategies import RateLimiter

from penstock_ratelimit.memory import LocalFixedWindows, LocalStorage


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


Reading: TypeAlias = tuple[bool, int, str]
"""The result of counting one request: whether it may pass, the whole seconds until more requests may, and the item of
this rate in ``RateLimit``."""


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
        if isinstance(limiter, LocalFixedWindows):
            self.hit = partial(self._hit_window, limiter.storage)  # type: ignore[method-assign] # it saves a frame
        self._start = f'"{name}";r='
        self._clock = clock
        encoded = base64.b64encode(partition.encode()).decode()
        self._key = f";pk=:{encoded}:" if partition else ""
        self.name = name
        self.policy = f'"{name}";q={quota.amount};w={quota.seconds}{self._key}'

    def __repr__(self) -> str:
        return f"<Rate {self.policy}>"

    def hit(self, caller: str) -> Reading:
        """Count a request if it may pass."""
        admitted = self._limiter.hit(self.quota, caller)
        reset, remaining = self._limiter.get_window_stats(self.quota, caller)
        # Redis rounds to seconds, and other requests may have been counted between the two queries.
        seconds = max(1, min(ceil(reset - self._clock()), self.quota.seconds))
        if not admitted or remaining < 0:
            remaining = 0
        return (admitted, seconds, f"{self._start}{remaining};t={seconds}{self._key}")

    def _hit_window(self, windows: LocalStorage, caller: str) -> Reading:
        """Count a request in the fixed window of this process, and read the result, in one step."""
        now = self._clock()
        quota = self.quota
        window = windows.window(caller, quota.seconds, now)
        window.count += 1
        remaining = quota.amount - window.count
        seconds = ceil(window.ends - now)
        if seconds > quota.seconds:  # noqa: PLR1730 - min() is a call; the difference was rounded up
            seconds = quota.seconds
        if remaining >= 0:
            return (True, seconds, f"{self._start}{remaining};t={seconds}{self._key}")
        return (False, seconds, f"{self._start}0;t={seconds}{self._key}")
