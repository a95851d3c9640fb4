"""The plug-in ``timeouts``: its settings, and what it makes of them for each endpoint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

from penstock.errors import DeadlineInfeasible
from penstock.hooks import Endpoint, PluginSettings, Submission, Timeouts, hookimpl, near_miss
from penstock_timeouts.deadline_headers import DEADLINE_HEADERS, DeadlineHeader

MOST_REMEMBERED: Final = 256
"""Budgets that travel from hop to hop are all different, so remembering more would gain little."""

Tighten = Callable[[float], "Timeouts | None"]
Policy = Callable[[Submission], "Timeouts | None"]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the jobs of somebody may take, in seconds; None leaves it to others.

    Parameters
    ----------
    queue, execution, total, first_chunk, idle:
        As in ``Timeouts``; each counts where it is tighter than the endpoint's.
    """

    queue: float | None = None
    execution: float | None = None
    total: float | None = None
    first_chunk: float | None = None
    idle: float | None = None

    def __post_init__(self) -> None:
        for name, seconds in self.given().items():
            if not 0 < seconds < math.inf:
                raise ValueError(f"{name} = {seconds:g} is no limit; give seconds, more than 0")

    def given(self) -> dict[str, float]:
        """Those that are not None."""
        return {name: seconds for name, seconds in msgspec.structs.asdict(self).items() if seconds is not None}


class TimeoutsSettings(PluginSettings, frozen=True, kw_only=True):
    """What an operator may set.

    Parameters
    ----------
    headers:
        The headers that a caller's deadline is taken from.
    default:
        Limits for everybody.
    principals:
        Limits for one caller, by the principal's name; a field that is given comes in place of the default's.
    """

    headers: tuple[str, ...] = tuple(DEADLINE_HEADERS)
    default: Limits = Limits()
    principals: dict[str, Limits] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.headers:
            if name.lower() not in DEADLINE_HEADERS:
                meant = near_miss(name.lower(), DEADLINE_HEADERS)
                raise ValueError(f"no deadline is read from a header {name!r}; {meant}")


class TimeoutsPlugin:
    """Decides how long a job may take, by what its caller wishes and by who the caller is."""

    Settings = TimeoutsSettings

    def __init__(self, settings: TimeoutsSettings) -> None:
        self._settings = settings

    @hookimpl
    def penstock_timeout_policy(self, endpoint: Endpoint) -> Policy | None:
        """Take the tightest of what the endpoint, the operator and the caller say."""
        named = {name.lower() for name in self._settings.headers}
        readers = [
            (name, header)
            for name, header in DEADLINE_HEADERS.items()
            if name in named and (header.is_for_streams or not endpoint.is_stream)
        ]
        everybody = _tightening(endpoint.timeouts, self._limits_of(None))
        principals = {name: _tightening(endpoint.timeouts, self._limits_of(name)) for name in self._settings.principals}
        if not readers and not principals and everybody(math.inf) is None:
            return None
        return _policy(readers, everybody, principals)

    def _limits_of(self, principal: str | None) -> dict[str, float]:
        limits = self._settings.default.given()
        if principal is not None:
            limits.update(self._settings.principals[principal].given())
        return limits


def _tightening(own: Timeouts, limits: dict[str, float]) -> Tighten:
    """What makes an endpoint's time-outs of a caller's wish; None where they stay as they are."""
    tighter = {}
    for name, seconds in limits.items():
        present = getattr(own, name)
        if present is None or seconds < present:
            tighter[name] = seconds
    base = dataclasses.replace(own, **tighter) if tighter else own
    unasked = base if tighter else None

    @lru_cache(maxsize=MOST_REMEMBERED)
    def tighten(wished: float) -> Timeouts | None:
        if wished == math.inf or (base.total is not None and base.total <= wished):
            return unasked
        return dataclasses.replace(base, total=wished)

    return tighten


def _policy(readers: list[tuple[str, DeadlineHeader]], everybody: Tighten, principals: dict[str, Tighten]) -> Policy:
    def policy(submission: Submission) -> Timeouts | None:
        header = submission.header
        wished = math.inf
        for name, reader in readers:
            value = header(name)
            if value is not None:
                wished = min(wished, _wish(reader, value))
        tighten = everybody
        if principals and submission.principal is not None:
            tighten = principals.get(submission.principal.name, everybody)
        return tighten(wished)

    return policy


def _wish(reader: DeadlineHeader, value: str) -> float:
    """Raises for a deadline that has passed: a gRPC server does not even start the call then."""
    seconds = reader.seconds(value)
    if seconds == 0.0:
        raise DeadlineInfeasible(f"{reader.name}: {value} leaves no time at all, so nothing was started")
    return seconds
