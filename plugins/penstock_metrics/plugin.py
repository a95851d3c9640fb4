"""The plug-in: it counts the records that it observes, and exposes the counts on a route."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Final

from penstock.errors import PluginError
from penstock.hooks import App, PluginSettings, Record, Route, hookimpl
from penstock_metrics.counts import Counts

SECONDS_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
MOST_BUCKETS: Final = 100


class MetricsSettings(PluginSettings, frozen=True, kw_only=True):
    """The settings of the metrics.

    Parameters
    ----------
    path:
        The path of the metrics route.
    buckets:
        The upper bounds of the histograms of durations, in seconds, ascending.
    process:
        True to expose the metrics of the server's own process: memory, CPU time, open files and garbage collection.
    """

    path: str = "/metrics"
    buckets: tuple[float, ...] = SECONDS_BUCKETS
    process: bool = True

    def __post_init__(self) -> None:
        """Reject settings with which the metrics would be unreachable or useless."""
        if not self.path.startswith("/") or len(self.path) < 2 or not set(self.path).isdisjoint("{}?# "):
            raise ValueError(f"path={self.path!r} must be a path such as '/metrics'")
        if not 1 <= len(self.buckets) <= MOST_BUCKETS:
            raise ValueError(f"buckets: there are {len(self.buckets)}; give 1 to {MOST_BUCKETS}")
        if not all(0 < bound < math.inf for bound in self.buckets):
            raise ValueError("buckets: each must be a finite number of seconds above 0; +Inf is added automatically")
        if any(low >= high for low, high in itertools.pairwise(self.buckets)):
            raise ValueError("buckets: each must be above the one before it")


class MetricsPlugin:
    """The plug-in that counts what happens and exposes the counts.

    Parameters
    ----------
    settings:
        The settings of the metrics.
    """

    name = "metrics"
    Settings = MetricsSettings

    def __init__(self, settings: MetricsSettings) -> None:
        self._settings = settings
        self._counts: Counts | None = None

    def check(self, app: App) -> None:
        """Check that the route does not hide an endpoint.

        Raises
        ------
        PluginError
            If an endpoint has the route's path.
        """
        for endpoint in app.endpoints:
            if endpoint.path == self._settings.path:
                raise PluginError(
                    f"plug-in 'metrics': its path {endpoint.path!r} is that of endpoint {endpoint.name!r}; set its "
                    "setting 'path' to another"
                )

    def _counts_of(self, app: App) -> Counts:
        if self._counts is None:
            self._counts = Counts(app, self._settings.buckets)
        return self._counts

    @hookimpl
    def penstock_observer(self, app: App) -> dict[type[Record], Callable[[Any], None]]:
        """Count all records."""
        return self._counts_of(app).observers()

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route]:
        """Add the metrics route."""
        # Imported here because it loads prometheus_client, which commands such as `penstock check` do not need.
        from penstock_metrics.exposition import Exposition  # noqa: PLC0415 - see above

        exposition = Exposition(self._counts_of(app), app, with_process=self._settings.process)
        return [Route(path=self._settings.path, name="metrics", handler=exposition.answer)]
