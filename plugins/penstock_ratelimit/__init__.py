"""Limits on how often, and how many at a time, each caller may ask; on the ``limits`` library."""

from penstock_ratelimit.plugin import RateLimitPlugin

__all__ = ["RateLimitPlugin"]
