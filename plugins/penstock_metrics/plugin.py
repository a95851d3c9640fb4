"""The plug-in: it counts what it observes, and shows it on a route."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Final

from penstock.errors import PluginError
from penstock.hooks import App, PluginSettings, Record, Route, hookimpl
from penstock_metrics.counts import Counts
from penstock_metrics.exposition import Exposition

SECONDS_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
MOST_BUCKETS: Final = 100


class MetricsSettings(PluginSettings, frozen=True, kw_only=True):
    """How the numbers are shown.

    Parameters
    ----------
    path:
        Where.
    buckets:
        The upper bounds of the histograms of times, in seconds, ascending.
    process:
        Whether those of the server's own process are among them: its memory, CPU time, open files and garbage.
    """

    path: str = "/metrics"
    buckets: tuple[float, ...] = SECONDS_BUCKETS
    process: bool = True

    def __post_init__(self) -> None:
        """Refuse what would show nothing, or nothing that can be read."""
        if not self.path.startswith("/") or len(self.path) < 2 or not set(self.path).isdisjoint("{}?# "):
            raise ValueError(f"path={self.path!r} must be a path such as '/metrics'")
        if not 1 <= len(self.buckets) <= MOST_BUCKETS:
            raise ValueError(f"buckets: there are {len(self.buckets)}; give 1 to {MOST_BUCKETS}")
        if not all(0 < bound < math.inf for bound in self.buckets):
            raise ValueError("buckets: each must be a number of seconds above 0; the last one, +Inf, is always there")
        if any(low >= high for low, high in itertools.pairwise(self.buckets)):
            raise ValueError("buckets: each must be above the one before it")


class MetricsPlugin:
    """Counts what happens, and shows it.

    Parameters
    ----------
    settings:
        How.
    """

    name = "metrics"
    Settings = MetricsSettings

    def __init__(self, settings: MetricsSettings) -> None:
        self._settings = settings
        self._counts: Counts | None = None
        self._exposition: Exposition | None = None

    def check(self, app: App) -> None:
        """See that the route hides no endpoint.

        Raises
        ------
        PluginError
            If an endpoint has its path.
        """
        for endpoint in app.endpoints:
            if endpoint.path == self._settings.path:
                raise PluginError(
                    f"plug-in 'metrics': its path {endpoint.path!r} is that of endpoint {endpoint.name!r}; choose "
                    "another with its setting 'path'"
                )

    def _counts_of(self, app: App) -> Counts:
        if self._counts is None:
            self._counts = Counts(app, self._settings.buckets)
        return self._counts

    @hookimpl
    def penstock_observer(self, app: App) -> dict[type[Record], Callable[[Any], None]]:
        """Count."""
        return self._counts_of(app).observers()

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route]:
        """Show."""
        # prometheus_client is imported here, because `penstock check` and the like have no use for it.
        from penstock_metrics.exposition import Exposition  # noqa: PLC0415 - see above

        self._exposition = Exposition(self._counts_of(app), app, with_process=self._settings.process)
        return [Route(path=self._settings.path, name="metrics", handler=self._exposition.answer)]
