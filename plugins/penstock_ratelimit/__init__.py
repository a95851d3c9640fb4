"""Limits on how often each caller may send requests, and how many at a time; built on the ``limits`` library."""

from penstock_ratelimit.plugin import RateLimitPlugin

__all__ = ["RateLimitPlugin"]
