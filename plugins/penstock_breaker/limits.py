"""When a circuit opens, and for how long: the settings, and what they come to for one endpoint."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from penstock.hooks import PluginSettings

_LONGEST = 86_400.0  # a day; it also keeps infinity out
Rate: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=_LONGEST)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for one endpoint; the settings of the same names say what each means."""

    failure_rate: Rate | None = 0.5
    slow_rate: Rate = 0.5
    slow_seconds: Seconds | None = None
    window: Seconds = 30.0
    min_calls: Count = 10
    open_seconds: Seconds = 5.0
    max_open_seconds: Seconds = 120.0
    probes: Count = 3
    probe_seconds: Seconds = 30.0

    def __post_init__(self) -> None:
        if self.failure_rate is None and self.slow_seconds is None:
            raise ValueError(
                "without failure_rate and without slow_seconds nothing can open the circuit; "
                "set one of them, or enabled = false"
            )
        if self.max_open_seconds < self.open_seconds:
            raise ValueError(
                f"max_open_seconds = {self.max_open_seconds:g} is less than open_seconds = {self.open_seconds:g}; "
                "raise the one or lower the other"
            )


class Overrides(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for one endpoint instead; what is left out is as for all.

    Parameters
    ----------
    enabled:
        Whether this endpoint has a breaker at all.
    """

    enabled: bool = True
    failure_rate: Rate | UnsetType | None = UNSET
    slow_rate: Rate | UnsetType = UNSET
    slow_seconds: Seconds | UnsetType | None = UNSET
    window: Seconds | UnsetType = UNSET
    min_calls: Count | UnsetType = UNSET
    open_seconds: Seconds | UnsetType = UNSET
    max_open_seconds: Seconds | UnsetType = UNSET
    probes: Count | UnsetType = UNSET
    probe_seconds: Seconds | UnsetType = UNSET


class BreakerSettings(PluginSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to give an endpoint a rest.

    Parameters
    ----------
    enabled:
        Off by default: a breaker refuses work that might have succeeded, which nobody should find out by surprise.
    failure_rate:
        The circuit opens when this share of the calls of late has failed, from 0 to 1; None: failures do not count.
    slow_rate:
        The circuit opens when this share of the calls of late was slow.
    slow_seconds:
        A call is slow when the handler ran for longer; None: none is.
    window:
        How far back "of late" reaches, in seconds.
    min_calls:
        With fewer calls in the window the circuit stays closed: one failure of one call is no rate.
    open_seconds:
        How long nothing passes, when the circuit opens for the first time.
    max_open_seconds:
        Each time a probe fails, the rest is twice as long as before, up to this.
    probes:
        How many calls, one after the other, have to succeed before the circuit is closed.
    probe_seconds:
        A probe that is unanswered for so long gives its place to the next call. Its answer still counts when it comes.
    endpoints:
        For single endpoints, by name: any of these settings, but for this one.
    """

    enabled: bool = False
    failure_rate: Rate | None = 0.5
    slow_rate: Rate = 0.5
    slow_seconds: Seconds | None = None
    window: Seconds = 30.0
    min_calls: Count = 10
    open_seconds: Seconds = 5.0
    max_open_seconds: Seconds = 120.0
    probes: Count = 3
    probe_seconds: Seconds = 30.0
    endpoints: dict[str, Overrides] = {}  # noqa: RUF012 - msgspec gives each its own

    def __post_init__(self) -> None:
        for name in ("", *self.endpoints):
            try:
                self.limits_of(name)
            except ValueError as error:
                raise ValueError(f"endpoint {name!r}: {error}" if name else str(error)) from None

    def limits_of(self, endpoint: str) -> Limits | None:
        """What holds for the endpoint of that name; None if it has no breaker."""
        values: dict[str, Any] = {name: getattr(self, name) for name in Limits.__struct_fields__}
        overrides = self.endpoints.get(endpoint)
        if overrides is not None:
            if not overrides.enabled:
                return None
            given = msgspec.structs.asdict(overrides)
            values |= {name: given[name] for name in values if given[name] is not UNSET}
        return Limits(**values)
