"""One line for each request: who asked for what, what became of it, and how long it took."""

from penstock_accesslog.plugin import AccessLogPlugin, AccessLogSettings

__all__ = ["AccessLogPlugin", "AccessLogSettings"]
