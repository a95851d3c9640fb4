"""Counts turned into OpenTelemetry's metrics. This module loads its SDK: only the exporting thread imports it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from penstock_otel.durations import BOUNDS, DurationCounts, Durations, request_attributes
from penstock_otel.export_thread import CollectorHealth

_LOGGER: Final = "opentelemetry.exporter.otlp.proto.http.metric_exporter"


def export_of(durations: Durations, resource: Resource) -> Callable[[], None]:
    """Return a function that exports the durations as they are when it is called."""
    exporter = OTLPMetricExporter()
    health = CollectorHealth("metrics", _LOGGER)
    scope = InstrumentationScope("penstock", version("penstock"))
    started = time.time_ns()

    def export() -> None:
        durations.catch_up()
        metrics = list(_metrics(durations, started, time.time_ns()))
        if not metrics:
            return
        data = MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, metrics, "")], "")])
        is_exported = exporter.export(data) is MetricExportResult.SUCCESS
        health.note(is_exported=is_exported, count=1)

    return export


def _metrics(durations: Durations, began: int, now: int) -> Iterator[Metric]:
    requests = ((request_attributes(key), counts) for key, counts in list(durations.requests.items()))
    of_endpoints = [
        ("penstock.job.queue.duration", "Time that jobs waited for their latest attempt", durations.queue),
        ("penstock.job.execution.duration", "Time of the latest attempt in your code", durations.execution),
    ]
    yield from _histogram("http.server.request.duration", "Duration of HTTP server requests", requests, began, now)
    for name, what, table in of_endpoints:
        points = (({"penstock.endpoint": endpoint}, counts) for endpoint, counts in list(table.items()))
        yield from _histogram(name, what, points, began, now)


def _histogram(
    name: str, what: str, points: Iterable[tuple[Mapping[str, Any], DurationCounts]], began: int, now: int
) -> Iterator[Metric]:
    data = [_point(attributes, counts, began, now) for attributes, counts in points]
    if data:
        yield Metric(name, what, "s", Histogram(data, AggregationTemporality.CUMULATIVE))


def _point(attributes: Mapping[str, Any], counts: DurationCounts, began: int, now: int) -> HistogramDataPoint:
    buckets = list(counts.counts)
    return HistogramDataPoint(
        dict(attributes), began, now, sum(buckets), counts.total, buckets, BOUNDS, counts.least, counts.greatest
    )
