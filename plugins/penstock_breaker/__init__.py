"""The circuit breaker: an endpoint that fails too often is given a rest, and its callers a quick answer."""

from penstock_breaker.plugin import BreakerPlugin

__all__ = ["BreakerPlugin"]
