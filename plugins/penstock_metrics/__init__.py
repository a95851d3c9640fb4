"""What the server does, in numbers, at ``GET /metrics``: in Prometheus' text format or in OpenMetrics'."""

from penstock_metrics.plugin import MetricsPlugin, MetricsSettings

__all__ = ["MetricsPlugin", "MetricsSettings"]
