"""The plug-in ``ratelimit``: what of its settings holds for whom."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote as percent_encoded

from penstock.hooks import App, Endpoint, Release, Submission, blocking, hookimpl, require_endpoints
from penstock_ratelimit.settings import Limits, RateLimitSettings, parse_rates

if TYPE_CHECKING:
    from limits.storage import RedisStorage
    from limits.strategies import RateLimiter

    from penstock_ratelimit.gate import Gate
    from penstock_ratelimit.places import Places
    from penstock_ratelimit.rates import Quota, Rate

Clock: TypeAlias = Callable[[], float]
Policy: TypeAlias = Callable[[Submission], Release | None]


class RateLimitPlugin:
    """Refuses callers who ask too often, or for too much at a time.

    Parameters
    ----------
    settings:
        What the operator has set.
    clock:
        Counts the seconds of what is kept in memory.
    """

    Settings = RateLimitSettings

    def __init__(self, settings: RateLimitSettings, clock: Clock = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._rates: dict[tuple[str, str, int, int], Rate] = {}  # by name, partition, amount and seconds
        self._places: dict[tuple[str, int], Places] = {}  # by partition, and how many
        self._redis: RedisStorage | None = None
        if settings.redis_url is not None:
            from penstock_ratelimit.sharing import Outage, open_redis  # noqa: PLC0415 - only who has set a URL

            admits = settings.on_redis_failure == "admit"
            # A key of one strategy means nothing to another, and Redis would answer each request with an error.
            prefix = f"{settings.redis_prefix}:{settings.strategy}"
            self._redis = open_redis(settings.redis_url, settings.redis_timeout, prefix)
            self._outage = Outage("nobody is limited" if admits else "requests are refused", clock)

    def check(self, app: App) -> None:
        """Refuse limits of endpoints that there are not.

        Raises
        ------
        PluginError
            With the name that is closest.
        """
        require_endpoints(app, self._settings.endpoints, plugin="ratelimit", setting="endpoints")

    @hookimpl
    def penstock_admission_policy(self, endpoint: Endpoint) -> Policy | None:
        """Let a request in if its caller is within all limits that hold for it."""
        everybody = self._gate(endpoint.name, None)
        principals = {name: self._gate(endpoint.name, limits) for name, limits in self._settings.principals.items()}
        if everybody is None and not any(principals.values()):
            return None

        def policy(submission: Submission) -> Release | None:
            gate = everybody
            if principals and submission.principal is not None:
                gate = principals.get(submission.principal.name, everybody)
            return None if gate is None else gate.admit(submission)

        return policy if self._redis is None else blocking(policy)

    def _gate(self, endpoint: str, own: Limits | None) -> Gate | None:
        """What holds at an endpoint, for a principal with limits of its own or for everybody else."""
        settings = self._settings
        chosen = [("default", "", settings.general)]
        if endpoint in settings.endpoints:
            chosen.insert(0, ("endpoint", endpoint, settings.endpoints[endpoint]))
        if own is not None:
            chosen.insert(0, ("principal", "", own))
        # The first that says anything: of the rates, and apart from that of the places.
        name, partition, limits = next(each for each in chosen if each[2].requests is not None)
        rates = self._rates_of(name, partition, limits.requests or ())
        _, partition, limits = next((each for each in chosen if each[2].concurrent is not None), chosen[-1])
        places = self._places_of(partition, limits.concurrent) if limits.concurrent else None
        if not rates and places is None:
            return None
        from penstock_ratelimit.callers import CALLERS, by_principal  # noqa: PLC0415 - only where there are limits
        from penstock_ratelimit.gate import Gate  # noqa: PLC0415 - likewise: it needs the library

        return Gate(
            CALLERS[settings.by] if own is None else by_principal,
            rates,
            places,
            outage=self._outage if self._redis is not None and rates else None,
            refuses_when_out=settings.on_redis_failure == "refuse",
        )

    def _rates_of(self, name: str, partition: str, texts: tuple[str, ...]) -> tuple[Rate, ...]:
        """The same objects for all endpoints that share them, as these hold the counts."""
        if not texts:
            return ()
        from penstock_ratelimit.rates import Rate  # noqa: PLC0415 - only where there are limits

        parsed = parse_rates(texts)
        found = []
        for amount, seconds in parsed:
            label = name if len(parsed) == 1 else f"{name}-{seconds}s"
            key = (label, partition, amount, seconds)
            if key not in self._rates:
                self._rates[key] = Rate(*self._counting(name, partition, amount, seconds), label, partition)
            found.append(self._rates[key])
        return tuple(found)

    def _counting(self, name: str, partition: str, amount: int, seconds: int) -> tuple[Quota, RateLimiter, Clock]:
        from limits.strategies import STRATEGIES  # noqa: PLC0415 - only where there are limits

        from penstock_ratelimit.memory import LocalFixedWindows, LocalStorage  # noqa: PLC0415 - likewise
        from penstock_ratelimit.rates import Quota  # noqa: PLC0415 - likewise

        strategy = self._settings.strategy
        if self._redis is not None:
            quota = Quota(amount, seconds, prefix=f"{name}/{percent_encoded(partition, safe='')}/")
            return quota, STRATEGIES[strategy](self._redis), time.time
        # The library adds what is left of a sliding window to the time of day, whatever the storage counts by.
        clock = time.time if strategy == "sliding-window-counter" else self._clock
        limiter = LocalFixedWindows if strategy == "fixed-window" else STRATEGIES[strategy]
        return Quota(amount, seconds), limiter(LocalStorage(self._clock)), clock

    def _places_of(self, partition: str, most: int) -> Places:
        from penstock_ratelimit.places import Places  # noqa: PLC0415 - only where there are limits

        return self._places.setdefault((partition, most), Places(most, partition))
