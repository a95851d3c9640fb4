"""Placeholder, until its author has come."""


class RateLimitPlugin:
    """Nothing yet."""
