"""The circuit breaker: while an endpoint fails too often, its requests are refused immediately."""

from penstock_breaker.plugin import BreakerPlugin

__all__ = ["BreakerPlugin"]
