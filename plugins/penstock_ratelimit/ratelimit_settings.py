"""The settings of the plug-in, and their validation."""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from penstock.hooks import PluginSettings, Secret

By: TypeAlias = Literal["principal", "key", "address"]
Strategy: TypeAlias = Literal["fixed-window", "moving-window", "sliding-window-counter"]

MAX_IN_MOVING_WINDOW: Final = 10_000
"""Largest amount for a moving window, which remembers the instant of each request of each caller."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_FORM = 'write it like "100/minute" or "20 per 10 seconds"'


class RateLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits that replace the general ones; None keeps those.

    Parameters
    ----------
    requests:
        Rates such as ``["100/minute", "10/second"]``; an empty list removes all rates.
    concurrent:
        Concurrent requests; 0 removes the limit.
    """

    requests: tuple[str, ...] | None = None
    concurrent: _Count | None = None

    def __post_init__(self) -> None:
        parse_rates(self.requests or ())


class RateLimitSettings(PluginSettings, frozen=True, kw_only=True):
    """The settings of the plug-in.

    Parameters
    ----------
    requests:
        Rates for each caller, over all endpoints together: ``["100/minute", "10/second"]``.
    concurrent:
        Concurrent requests of each caller in this process. 0 or None: no limit.
    endpoints:
        Other limits for single endpoints, by name; the requests to such an endpoint are counted separately.
    principals:
        Other limits for single callers, by the principal's name; they take precedence over an endpoint's.
    by:
        The identity that requests are counted by. ``principal``: the principal that the authenticator returned;
        ``key``: each key of a principal; both use the address for an anonymous caller. ``address``: always the address.
        The first 64 bits of an IPv6 address count.
    strategy:
        The counting strategy, as described by ``limits``.
    redis_url:
        The Redis in which several processes share their counts; by default each process counts in memory.
    redis_timeout:
        Seconds that Redis may take to answer.
    redis_prefix:
        Prefix of the keys in Redis.
    on_redis_failure:
        ``admit`` or ``refuse`` requests while Redis does not answer.
    """

    requests: tuple[str, ...] = ()
    concurrent: _Count | None = None
    endpoints: dict[str, RateLimits] = msgspec.field(default_factory=dict)
    principals: dict[str, RateLimits] = msgspec.field(default_factory=dict)
    by: By = "principal"
    strategy: Strategy = "fixed-window"
    redis_url: Secret | None = None
    redis_timeout: float = 0.1
    redis_prefix: str = "penstock"
    on_redis_failure: Literal["admit", "refuse"] = "admit"

    def __post_init__(self) -> None:
        if not 0 < self.redis_timeout < math.inf:
            raise ValueError(f"redis_timeout = {self.redis_timeout:g} is not a timeout; set seconds greater than 0")
        if self.strategy == "moving-window":
            self._check_amounts()
        else:
            parse_rates(self.requests)

    def _check_amounts(self) -> None:
        for limits in self._all_limits:
            for amount, seconds in parse_rates(limits.requests or ()):
                if amount > MAX_IN_MOVING_WINDOW:
                    raise ValueError(
                        f"{amount} requests in {seconds} s are too many for a moving window, which remembers each; "
                        f'use strategy = "sliding-window-counter", or at most {MAX_IN_MOVING_WINDOW}'
                    )

    @property
    def general(self) -> RateLimits:
        """The limits that apply where neither the principal nor the endpoint has its own."""
        return RateLimits(requests=self.requests, concurrent=self.concurrent)

    @property
    def has_limits(self) -> bool:
        """True if a limit is set for any caller and endpoint."""
        return any(limits.requests or limits.concurrent for limits in self._all_limits)

    @property
    def _all_limits(self) -> tuple[RateLimits, ...]:
        return (self.general, *self.endpoints.values(), *self.principals.values())


def parse_rates(texts: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return the amount and the period in seconds of each rate, the shortest period first.

    Rates are checked in the same order: a caller that is too fast for the limit per second is refused without using up
    the limit per minute.

    Raises
    ------
    ValueError
        If a text is not a rate, an amount is 0, or two rates have the same period.
    """
    if not texts:
        return []  # without importing `limits`, which only servers with a limit should pay for
    rates: dict[int, int] = {}
    for text in texts:
        amount, seconds = _rate(text)
        if amount < 1:
            raise ValueError(f"{text!r} would refuse every request; remove the rate, or the endpoint")
        if seconds in rates:
            raise ValueError(f"{text!r} is the second limit for {seconds} s; keep the tighter one")
        rates[seconds] = amount
    return [(rates[seconds], seconds) for seconds in sorted(rates)]


def _rate(text: str) -> tuple[int, int]:
    from limits import parse_many  # noqa: PLC0415 - loaded only by servers with a limit, see parse_rates

    try:
        items = parse_many(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a rate; {_FORM}") from None
    if len(items) != 1:
        raise ValueError(f"{text!r} contains several rates; make each a list item")
    return items[0].amount, items[0].get_expiry()
