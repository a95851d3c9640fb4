"""Schedules: endpoints that are called at times of the day. The app only declares them; a plug-in runs them."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from penstock.app.endpoints import Endpoint
from penstock.errors import DeclarationError, PenstockError
from penstock.suggestions import near_miss

CRON_FIELDS: Final = 5
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNFIT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Schedule:
    """The declaration that an endpoint is called at times of the day."""

    name: str
    """Its name in the store, in the ids of its jobs and in the log. No other schedule of the app has it."""
    cron: str
    """The times: minute, hour, day of the month, month, day of the week."""
    endpoint: str
    """The name of the endpoint."""
    input: bytes
    """The body of the request."""
    timezone: str
    """The name of the time zone in which the times are meant."""


class ScheduleBase:
    """The base of ``App``: the declaration of schedules.

    Attributes
    ----------
    schedules:
        The schedules, in the order of their declaration. None can be added once the app is served.
    """

    endpoints: list[Endpoint]
    _is_frozen: bool

    def __init__(self) -> None:
        self.schedules: list[Schedule] = []

    def schedule(
        self,
        cron: str,
        endpoint: str | Callable[..., Any],
        input: Any = None,
        *,
        timezone: str = "UTC",
        name: str | None = None,
    ) -> None:
        """Declare that an endpoint is called at times of the day, each time as a background job.

        Parameters
        ----------
        cron:
            The times, in the five fields of cron: ``"0 3 * * *"`` is each day at three. ``"30 9 * * MON-FRI"``,
            ``"*/10 * * * *"``, ``"0 0 L * *"`` (the last day of the month).
        endpoint:
            The endpoint, declared before: its name, or its handler.
        input:
            The input, as for ``engine.call``: it is checked here.
        timezone:
            The name of the time zone in which the times are meant, such as ``"Europe/Berlin"``.
        name:
            The name of the schedule, of letters, digits, ``.``, ``_`` and ``-``. Default: the name of the endpoint.

        Raises
        ------
        DeclarationError
            For every mistake that can be detected here. The fields of ``cron`` are checked when the server starts.
        """
        found = _endpoint_of(endpoint, self.endpoints)
        name = name or _UNFIT_IN_NAME.sub("-", found.name)
        owner = f"schedule {name!r}"
        if self._is_frozen:
            raise DeclarationError(f"{owner}: the app is being served already; declare schedules before that")
        if not _NAME.fullmatch(name):
            raise DeclarationError(f"{owner}: a name has 1 to 64 letters, digits, dots, underscores and hyphens")
        if name in {schedule.name for schedule in self.schedules}:
            raise DeclarationError(f"{owner}: it is declared already; give this one another name=")
        _require_form(owner, cron)
        _require_timezone(owner, timezone)
        self.schedules.append(Schedule(name, cron, found.name, _body_of(owner, found, input), timezone))


def _endpoint_of(wanted: str | Callable[..., Any], endpoints: list[Endpoint]) -> Endpoint:
    for endpoint in endpoints:
        if wanted == endpoint.name or wanted is endpoint.handler:
            return endpoint
    name = wanted if isinstance(wanted, str) else getattr(wanted, "__name__", repr(wanted))
    raise DeclarationError(
        f"a schedule names endpoint {name!r}, which is not declared, or not yet; "
        f"{near_miss(name, [endpoint.name for endpoint in endpoints])}"
    )


def _require_form(owner: str, cron: Any) -> None:
    if not isinstance(cron, str) or len(cron.split()) != CRON_FIELDS:
        raise DeclarationError(
            f'{owner}: {cron!r} does not have the five fields of cron; write "0 3 * * *" for each day at three'
        )


def _require_timezone(owner: str, timezone: Any) -> None:
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise DeclarationError(
            f'{owner}: {timezone!r} is not a time zone that this system knows; write "Europe/Berlin", or install tzdata'
        ) from None


def _body_of(owner: str, endpoint: Endpoint, value: Any) -> bytes:
    try:
        body = endpoint.codec.encode_input(value)
        endpoint.codec.validate(body)
    except PenstockError as error:
        raise DeclarationError(f"{owner}: the input does not fit endpoint {endpoint.name!r}: {error.detail}") from error
    return body
