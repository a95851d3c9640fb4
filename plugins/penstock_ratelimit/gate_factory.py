"""Selects the limits that apply at an endpoint, and makes gates of them.

This module and those that it imports need the ``limits`` library; the plug-in loads them only if a limit is set.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import quote as percent_encoded

from limits.storage import RedisStorage
from limits.strategies import STRATEGIES, RateLimiter

from penstock_ratelimit.callers import CALLERS, by_principal
from penstock_ratelimit.gate import Gate
from penstock_ratelimit.memory import LocalFixedWindows, LocalStorage
from penstock_ratelimit.permits import Permits
from penstock_ratelimit.ratelimit_settings import RateLimits, RateLimitSettings, parse_rates
from penstock_ratelimit.rates import Quota, Rate
from penstock_ratelimit.sharing import Outage, open_redis

Clock: TypeAlias = Callable[[], float]


class GateFactory:
    """Makes the gates of all endpoints. Endpoints with the same limits share the counts.

    Parameters
    ----------
    settings:
        The plug-in's settings.
    clock:
        The monotonic clock of the counts in memory.

    Attributes
    ----------
    rates:
        Each rate, which holds its counts, by name, partition, amount and seconds.
    permits:
        Each limit on concurrent requests, which holds its counts, by partition and number.
    redis:
        The storage that is shared with other processes; None: the counts are in memory.
    outage:
        Tracks the failures of that storage; None without one.

    Raises
    ------
    PluginError
        If the settings name a Redis that cannot be used.
    """

    def __init__(self, settings: RateLimitSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.rates: dict[tuple[str, str, int, int], Rate] = {}
        self.permits: dict[tuple[str, int], Permits] = {}
        self.redis: RedisStorage | None = None
        self.outage: Outage | None = None
        if settings.redis_url is not None:
            # The keys of one strategy mean nothing to another: Redis would answer each request with an error.
            prefix = f"{settings.redis_prefix}:{settings.strategy}"
            self.redis = open_redis(settings.redis_url, settings.redis_timeout, prefix)
            admits = settings.on_redis_failure == "admit"
            self.outage = Outage("no rate limit is enforced" if admits else "requests are refused", clock)

    def gate(self, endpoint: str, own: RateLimits | None) -> Gate | None:
        """Return the gate of an endpoint, for a principal with its own limits or for all other callers.

        Returns None if no limit applies.
        """
        settings = self._settings
        candidates = [("default", "", settings.general)]
        if endpoint in settings.endpoints:
            candidates.insert(0, ("endpoint", endpoint, settings.endpoints[endpoint]))
        if own is not None:
            candidates.insert(0, ("principal", "", own))
        # The first one that sets rates applies, and independently the first one that sets concurrent requests.
        name, partition, limits = next(each for each in candidates if each[2].requests is not None)
        rates = self._rates_of(name, partition, limits.requests or ())
        _, partition, limits = next((each for each in candidates if each[2].concurrent is not None), candidates[-1])
        permits = self._permits_of(partition, limits.concurrent) if limits.concurrent else None
        if not rates and permits is None:
            return None
        return Gate(
            CALLERS[settings.by] if own is None else by_principal,
            rates,
            permits,
            outage=self.outage if rates else None,
            refuses_when_out=settings.on_redis_failure == "refuse",
        )

    def _rates_of(self, name: str, partition: str, texts: tuple[str, ...]) -> tuple[Rate, ...]:
        """Return the rates; endpoints that share a rate get the same object, because it holds the counts."""
        parsed = parse_rates(texts)
        found = []
        for amount, seconds in parsed:
            label = name if len(parsed) == 1 else f"{name}-{seconds}s"
            key = (label, partition, amount, seconds)
            if key not in self.rates:
                self.rates[key] = Rate(*self._counter(name, partition, amount, seconds), label, partition)
            found.append(self.rates[key])
        return tuple(found)

    def _counter(self, name: str, partition: str, amount: int, seconds: int) -> tuple[Quota, RateLimiter, Clock]:
        strategy = self._settings.strategy
        if self.redis is not None:
            quota = Quota(amount, seconds, prefix=f"{name}/{percent_encoded(partition, safe='')}/")
            return quota, STRATEGIES[strategy](self.redis), time.time
        # The library adds the rest of a sliding window to the time of day, whichever clock the storage uses.
        clock = time.time if strategy == "sliding-window-counter" else self._clock
        limiter = LocalFixedWindows if strategy == "fixed-window" else STRATEGIES[strategy]
        return Quota(amount, seconds), limiter(LocalStorage(self._clock)), clock

    def _permits_of(self, partition: str, limit: int) -> Permits:
        return self.permits.setdefault((partition, limit), Permits(limit, partition))
