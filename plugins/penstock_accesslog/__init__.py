"""The access log: one line per request, with its caller, its outcome and its duration."""

from penstock_accesslog.plugin import AccessLogPlugin, AccessLogSettings

__all__ = ["AccessLogPlugin", "AccessLogSettings"]
