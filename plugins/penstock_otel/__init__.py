"""OpenTelemetry: requests continue their callers' traces; spans and durations go to a collector by OTLP over HTTP."""

from penstock_otel.plugin import OtelPlugin

__all__ = ["OtelPlugin"]
