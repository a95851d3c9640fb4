"""What an operator may say about rates, and whether it makes sense."""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from penstock.hooks import PluginSettings, Secret

By: TypeAlias = Literal["principal", "key", "address"]
Strategy: TypeAlias = Literal["fixed-window", "moving-window", "sliding-window-counter"]

MOST_IN_MOVING_WINDOW: Final = 10_000
"""A moving window remembers the instant of each request, of each caller."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_FORM = 'write it like "100/minute" or "20 per 10 seconds"'


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits in place of the general ones; None leaves those.

    Parameters
    ----------
    requests:
        Such as ``["100/minute", "10/second"]``; an empty list lifts them.
    concurrent:
        Requests at a time; 0 lifts the limit.
    """

    requests: tuple[str, ...] | None = None
    concurrent: _Count | None = None

    def __post_init__(self) -> None:
        parse_rates(self.requests or ())


class RateLimitSettings(PluginSettings, frozen=True, kw_only=True):
    """What an operator may set.

    Parameters
    ----------
    requests:
        How many requests each caller may send, over all endpoints together: ``["100/minute", "10/second"]``.
    concurrent:
        How many of them may be under way at a time, in this process. 0 or None: as many as there are.
    endpoints:
        Other limits for one endpoint, by its name; its requests are then counted apart.
    principals:
        Other limits for one caller, by the principal's name; they come before an endpoint's.
    by:
        What a caller is. ``principal``: whom the authenticator has named; else the address. ``key``: each of a
        principal's keys; else the address. ``address``: always the address. Of IPv6, 64 bits count.
    strategy:
        How requests are counted: as ``limits`` describes them.
    redis_url:
        Where the counts are kept when several processes are to share them; by default each has its own, in memory.
    redis_timeout:
        Seconds that Redis may take to answer.
    redis_prefix:
        What the keys in Redis begin with.
    on_redis_failure:
        Whether requests are admitted or refused while Redis does not answer.
    """

    requests: tuple[str, ...] = ()
    concurrent: _Count | None = None
    endpoints: dict[str, Limits] = msgspec.field(default_factory=dict)
    principals: dict[str, Limits] = msgspec.field(default_factory=dict)
    by: By = "principal"
    strategy: Strategy = "fixed-window"
    redis_url: Secret | None = None
    redis_timeout: float = 0.1
    redis_prefix: str = "penstock"
    on_redis_failure: Literal["admit", "refuse"] = "admit"

    def __post_init__(self) -> None:
        if not 0 < self.redis_timeout < math.inf:
            raise ValueError(f"redis_timeout = {self.redis_timeout:g}: give seconds, more than 0")
        if self.strategy == "moving-window":
            self._require_short_memory()
        else:
            parse_rates(self.requests)

    def _require_short_memory(self) -> None:
        for limits in (self.general, *self.endpoints.values(), *self.principals.values()):
            for amount, seconds in parse_rates(limits.requests or ()):
                if amount > MOST_IN_MOVING_WINDOW:
                    raise ValueError(
                        f"{amount} requests in {seconds} s are too many for a moving window, which remembers each; "
                        f'use strategy = "sliding-window-counter", or at most {MOST_IN_MOVING_WINDOW}'
                    )

    @property
    def general(self) -> Limits:
        """Those for whom nothing else is said."""
        return Limits(requests=self.requests, concurrent=self.concurrent)


def parse_rates(texts: tuple[str, ...]) -> list[tuple[int, int]]:
    """Amounts, and seconds in which; the shortest time first.

    That order is also the one in which they are asked. A caller who is too quick for a second is then refused without
    using up the minute.

    Raises
    ------
    ValueError
        For what is no rate, a rate of nothing, and two for the same time.
    """
    if not texts:
        return []  # without the import, which nobody should pay for who sets no limit
    rates: dict[int, int] = {}
    for text in texts:
        amount, seconds = _rate(text)
        if amount < 1:
            raise ValueError(f"{text!r} would let nobody in; take the limit away, or the endpoint")
        if seconds in rates:
            raise ValueError(f"{text!r} is the second limit for {seconds} s; keep the tighter one")
        rates[seconds] = amount
    return [(rates[seconds], seconds) for seconds in sorted(rates)]


def _rate(text: str) -> tuple[int, int]:
    from limits import parse_many  # noqa: PLC0415 - see parse_rates

    try:
        items = parse_many(text)
    except ValueError:
        raise ValueError(f"{text!r} is no rate; {_FORM}") from None
    if len(items) != 1:
        raise ValueError(f"{text!r} has several rates; make each an item of the list")
    return items[0].amount, items[0].get_expiry()
