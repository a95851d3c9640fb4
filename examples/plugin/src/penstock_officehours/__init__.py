"""A plug-in for Penstock that changes two policies: closed outside office hours, and the shortest request first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

from penstock.errors import PluginError, Unavailable
from penstock.hooks import App, Endpoint, PluginSettings, Queue, Submission, hookimpl
from penstock_officehours.shortest import ShortestFirst

__all__ = ["Closed", "Hours", "OfficeHours", "ShortestFirst"]


class Closed(Unavailable):
    """Outside office hours. The error has a code of its own; the status, 503, comes from its base class."""

    code = "closed"
    title = "Closed"


class Hours(PluginSettings, frozen=True):
    """The settings of the plug-in.

    Parameters
    ----------
    opens, closes:
        Times of day in UTC, such as 08:30:00. Always open if both are the same.
    endpoints:
        The names of the endpoints that close. Default: all.
    shortest_first:
        Run short requests before long ones.
    """

    opens: time = time(8)
    closes: time = time(18)
    endpoints: tuple[str, ...] = ()
    shortest_first: bool = True


def _now() -> datetime:
    return datetime.now(UTC)


class OfficeHours:
    """The plug-in. Each engine creates one instance, with the settings.

    Parameters
    ----------
    settings:
        The settings of the operator.
    now:
        Returns the current time; tests replace it.
    """

    Settings = Hours

    def __init__(self, settings: Hours, now: Callable[[], datetime] = _now) -> None:
        self._settings = settings
        self._now = now

    def check(self, app: App) -> None:
        """Validate the settings against the app, when the engine is created.

        Raises
        ------
        PluginError
            If the settings name an endpoint that does not exist.
        """
        known = {endpoint.name for endpoint in app.endpoints}
        for name in self._settings.endpoints:
            if name not in known:
                raise PluginError(f"there is no endpoint {name!r} to close; there are: {', '.join(sorted(known))}")

    @hookimpl
    def penstock_admission_policy(self, endpoint: Endpoint) -> Callable[[Submission], None] | None:
        """Refuse requests while closed. An endpoint that never closes has no policy, which costs nothing."""
        settings = self._settings
        if settings.opens == settings.closes or (settings.endpoints and endpoint.name not in settings.endpoints):
            return None

        def admit(_submission: Submission) -> None:
            seconds = self._seconds_until_open()
            if seconds > 0:
                raise Closed(f"{endpoint.name} opens at {settings.opens:%H:%M} UTC", retry_after=seconds)

        return admit

    @hookimpl
    def penstock_queue_discipline(self) -> Callable[[], Queue] | None:
        """Run the shortest job first if the setting says so; otherwise leave the choice to the next plug-in."""
        return ShortestFirst if self._settings.shortest_first else None

    def _seconds_until_open(self) -> float:
        """Return the seconds until it opens, 0 while open. Office hours may extend past midnight."""
        now = self._now()
        opens, closes = (
            datetime.combine(now.date(), moment, UTC) for moment in (self._settings.opens, self._settings.closes)
        )
        is_open = opens <= now < closes if opens < closes else not closes <= now < opens
        if is_open:
            return 0.0
        return ((opens if opens > now else opens + timedelta(days=1)) - now).total_seconds()
