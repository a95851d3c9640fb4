"""Metrics at ``GET /metrics``, in the Prometheus text format or in OpenMetrics."""

from penstock_metrics.plugin import MetricsPlugin, MetricsSettings

__all__ = ["MetricsPlugin", "MetricsSettings"]
