"""The settings: when a circuit opens and for how long, in general and for single endpoints."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from penstock.hooks import PluginSettings

_LONGEST = 86_400.0  # a day; it also keeps infinity out
Rate: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=_LONGEST)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class CircuitLimits(PluginSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of one endpoint's circuit.

    Parameters
    ----------
    enabled:
        False: the endpoint has no breaker.
    failure_rate:
        The circuit opens when this share of the recent calls has failed, from 0 to 1; None: failures do not count.
    slow_rate:
        The circuit opens when this share of the recent calls was slow.
    slow_seconds:
        A call is slow if its handler ran for longer than this; None: no call is slow.
    window:
        Seconds for which a call is recent.
    min_calls:
        With fewer calls in the window the circuit stays closed: one failure in one call is not a rate.
    open_seconds:
        Seconds for which every call is refused when the circuit first opens.
    max_open_seconds:
        Each failed probe doubles that time, up to this.
    probes:
        Number of calls that must succeed, one after the other, before the circuit closes.
    probe_seconds:
        After this time without an answer to a probe, the next call may pass as a probe too. A late answer still counts.
    """

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


# The same fields, all of them optional: generated, so that a limit is declared once.
_OptionalLimits = msgspec.defstruct(
    "_OptionalLimits",
    [(field.name, field.type | UnsetType, UNSET) for field in msgspec.structs.fields(CircuitLimits)],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)


class CircuitOverrides(_OptionalLimits):  # type: ignore[misc, valid-type] # mypy does not know generated classes
    """The settings of one endpoint that differ from the general ones, with the fields of ``CircuitLimits``."""


class BreakerSettings(CircuitLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of all circuits, and the exceptions.

    Parameters
    ----------
    enabled:
        Off by default: a breaker refuses work that might have succeeded, which must not come as a surprise.
    endpoints:
        Overrides for single endpoints, by name: any of the other settings.
    """

    enabled: bool = False
    endpoints: dict[str, CircuitOverrides] = {}  # noqa: RUF012 - msgspec copies it for each instance

    def __post_init__(self) -> None:
        for name in ("", *self.endpoints):
            try:
                self.limits_of(name)
            except ValueError as error:
                raise ValueError(f"endpoint {name!r}: {error}" if name else str(error)) from None

    def limits_of(self, endpoint: str) -> CircuitLimits | None:
        """Return the limits of the endpoint with that name, or None if it has no breaker."""
        values: dict[str, Any] = {name: getattr(self, name) for name in CircuitLimits.__struct_fields__}
        values["enabled"] = True
        overrides = self.endpoints.get(endpoint)
        if overrides is not None:
            given = msgspec.structs.asdict(overrides)
            values |= {name: value for name, value in given.items() if value is not UNSET}
        return CircuitLimits(**values) if values["enabled"] else None
