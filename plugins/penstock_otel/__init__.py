"""OpenTelemetry: requests continue their callers' traces; spans and durations go to a collector by OTLP over HTTP."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # workers load a module of this package, and have no use for the plug-in
    from penstock_otel.plugin import OtelPlugin

__all__ = ["OtelPlugin"]


def __getattr__(name: str) -> Any:
    """Import the plug-in when it is first asked for."""
    if name == "OtelPlugin":
        from penstock_otel.plugin import OtelPlugin  # noqa: PLC0415 - see above

        return OtelPlugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
