"""The plug-in: it counts the records that it observes, and exposes the counts on a route."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import msgspec

from penstock.errors import PluginError
from penstock.hooks import (
    App,
    Endpoint,
    EndpointDescription,
    HeaderDescription,
    PluginSettings,
    Record,
    Release,
    Route,
    Submission,
    hookimpl,
)
from penstock_metrics.counts import Counts
from penstock_metrics.orca import BINARY_HEADER, HEADER, REPORT_FORMATS, REQUEST_HEADER, LoadReports

SECONDS_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
MOST_BUCKETS: Final = 100
GaugeSource: TypeAlias = Literal["queued_jobs", "running_jobs", "utilization"]
_GAUGE_NAME: Final = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]{0,99}")
OWN_PREFIXES: Final = ("penstock_", "process_", "python_")


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
    gauges:
        Additional gauges without labels, for programs that look for a name of their own: the whole server's number of
        queued or running jobs, or the highest utilization of a pool, by the gauge's name.
    orca:
        The load report in the headers of responses: ``"off"``; ``"asked"``, for requests that ask for it with
        ``endpoint-load-metrics-format``; or a format, for all.
    """

    path: str = "/metrics"
    buckets: tuple[float, ...] = SECONDS_BUCKETS
    process: bool = True
    gauges: dict[str, GaugeSource] = msgspec.field(default_factory=dict)
    orca: Literal["off", "asked", "text", "json", "binary"] = "off"

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
        for name in self.gauges:
            if not _GAUGE_NAME.fullmatch(name) or name.startswith(OWN_PREFIXES):
                raise ValueError(
                    f"gauges: {name!r} is not a name for a gauge; use letters, digits, '_' and ':', and another "
                    f"beginning than {', '.join(OWN_PREFIXES)}"
                )


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
        self._reports: LoadReports | None = None

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
    def penstock_admission_policy(
        self, endpoint: Endpoint | Route, app: App
    ) -> Callable[[Submission], Release | None] | None:
        """Add load reports to the responses of endpoints, if they are switched on."""
        orca = self._settings.orca
        if orca == "off" or isinstance(endpoint, Route):
            return None
        if self._reports is None:
            self._reports = LoadReports(app, None if orca == "asked" else orca)
        return self._reports.policy(endpoint)

    @hookimpl
    def penstock_description(self) -> EndpointDescription | None:
        """Describe the headers of load reports, if they are switched on."""
        if self._settings.orca == "off":
            return None
        report = HeaderDescription("The load of the server, for load balancers that understand ORCA.")
        form = HeaderDescription("The format of the load report.", {"type": "string", "enum": list(REPORT_FORMATS)})
        return EndpointDescription(
            request_headers={REQUEST_HEADER: form}, response_headers={HEADER: report, BINARY_HEADER: report}
        )

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route]:
        """Add the metrics route."""
        # Imported here because it loads prometheus_client, which commands such as `penstock check` do not need.
        from penstock_metrics.exposition import Exposition  # noqa: PLC0415 - see above

        settings = self._settings
        exposition = Exposition(self._counts_of(app), app, with_process=settings.process, extra_gauges=settings.gauges)
        return [Route(path=self._settings.path, name="metrics", handler=exposition.answer)]
