"""The plug-in ``timeouts``: its settings, and the timeout policy that it derives from them for each endpoint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

from penstock.errors import DeadlineInfeasible
from penstock.hooks import (
    Endpoint,
    EndpointDescription,
    HeaderDescription,
    HeaderNames,
    PluginSettings,
    Submission,
    Timeouts,
    hookimpl,
    near_miss,
)
from penstock_timeouts.deadline_headers import DEADLINE_HEADERS, DeadlineHeader

MAX_CACHED: Final = 256
"""Deadlines that are propagated from hop to hop all differ, so a larger cache would gain little."""

Tighten = Callable[[float], "Timeouts | None"]
Policy = Callable[[Submission], "Timeouts | None"]


class TimeoutLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operator's limits on the timeouts of a caller's jobs, in seconds; None sets no limit.

    Parameters
    ----------
    queue, execution, total, first_chunk, idle:
        As in ``Timeouts``; each applies where it is tighter than the endpoint's.
    """

    queue: float | None = None
    execution: float | None = None
    total: float | None = None
    first_chunk: float | None = None
    idle: float | None = None

    def __post_init__(self) -> None:
        for name, seconds in self.as_dict().items():
            if not 0 < seconds < math.inf:
                raise ValueError(f"{name} = {seconds:g} is not a limit; set seconds greater than 0")

    def as_dict(self) -> dict[str, float]:
        """Return the limits that are set, by name."""
        return {name: seconds for name, seconds in msgspec.structs.asdict(self).items() if seconds is not None}


class TimeoutsSettings(PluginSettings, frozen=True, kw_only=True):
    """The settings of the plug-in.

    Parameters
    ----------
    headers:
        The headers from which a caller's deadline is read.
    default:
        Limits for all callers.
    principals:
        Limits for single callers, by the principal's name; a field that is set replaces the default's.
    """

    headers: tuple[str, ...] = tuple(DEADLINE_HEADERS)
    default: TimeoutLimits = TimeoutLimits()
    principals: dict[str, TimeoutLimits] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.headers:
            if name.lower() not in DEADLINE_HEADERS:
                meant = near_miss(name.lower(), DEADLINE_HEADERS)
                raise ValueError(f"no deadline can be read from header {name!r}; {meant}")


class TimeoutsPlugin:
    """Decides how long a job may take, from its caller's deadline and the limits for that caller."""

    Settings = TimeoutsSettings

    def __init__(self, settings: TimeoutsSettings) -> None:
        self._settings = settings

    @hookimpl
    def penstock_timeout_policy(self, endpoint: Endpoint) -> Policy | None:
        """Return the policy that applies the tightest of the endpoint's, the operator's and the caller's limits."""
        readers = self._readers_of(endpoint)
        default = _tightening(endpoint.timeouts, self._limits_of(None))
        principals = {name: _tightening(endpoint.timeouts, self._limits_of(name)) for name in self._settings.principals}
        if not readers and not principals and default(math.inf) is None:
            return None
        return _policy(readers, default, principals)

    @hookimpl
    def penstock_description(self, endpoint: Endpoint) -> EndpointDescription:
        """Describe the headers in which a caller may send its deadline."""
        return EndpointDescription(
            request_headers={
                header.name: HeaderDescription(
                    f"The time for which the caller waits: {header.form}.",
                    {"type": "string", "pattern": f"^(?:{header.pattern.pattern})$"},
                )
                for _, header in self._readers_of(endpoint)
            }
        )

    def _readers_of(self, endpoint: Endpoint) -> list[tuple[str, DeadlineHeader]]:
        named = {name.lower() for name in self._settings.headers}
        return [
            (name, header)
            for name, header in DEADLINE_HEADERS.items()
            if name in named and (header.is_for_streams or not endpoint.is_stream)
        ]

    def _limits_of(self, principal: str | None) -> dict[str, float]:
        limits = self._settings.default.as_dict()
        if principal is not None:
            limits.update(self._settings.principals[principal].as_dict())
        return limits


def _tightening(own: Timeouts, limits: dict[str, float]) -> Tighten:
    """Return a function from a caller's deadline to the job's timeouts, or to None if they stay the endpoint's own."""
    tighter = {}
    for name, seconds in limits.items():
        present = getattr(own, name)
        if present is None or seconds < present:
            tighter[name] = seconds
    base = dataclasses.replace(own, **tighter) if tighter else own
    without_deadline = base if tighter else None

    @lru_cache(maxsize=MAX_CACHED)
    def tighten(seconds: float) -> Timeouts | None:
        if seconds == math.inf or (base.total is not None and base.total <= seconds):
            return without_deadline
        return dataclasses.replace(base, total=seconds)

    return tighten


def _policy(readers: list[tuple[str, DeadlineHeader]], default: Tighten, principals: dict[str, Tighten]) -> Policy:
    by_name = dict(readers)
    names = HeaderNames(by_name)
    without_deadline = default(math.inf)

    def policy(submission: Submission) -> Timeouts | None:
        seconds = math.inf
        if submission.has_any_header(names):
            seconds = _callers_timeout([by_name[name] for name in submission.headers_among(names)], submission)
        if principals and submission.principal is not None:
            return principals.get(submission.principal.name, default)(seconds)
        return without_deadline if seconds == math.inf else default(seconds)

    return policy


def _callers_timeout(readers: list[DeadlineHeader], submission: Submission) -> float:
    """Return the seconds for which the caller waits, according to these headers, of which the least counts."""
    seconds = math.inf
    for reader in readers:
        remaining = _remaining(reader, submission.header(reader.name.lower()) or "")
        seconds = min(seconds, remaining)
        if reader.spans_retries:
            submission.tighten_caller_timeout(remaining)
    return seconds


def _remaining(reader: DeadlineHeader, value: str) -> float:
    """Return the seconds the caller still waits; refuse 0, as a gRPC server does: it does not even start the call."""
    seconds = reader.seconds(value)
    if seconds == 0.0:
        detail = f"{reader.name}: {value} leaves no time, so nothing was started"
        raise DeadlineInfeasible(detail, retryable=False)
    return seconds
