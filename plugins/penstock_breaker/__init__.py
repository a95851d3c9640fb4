"""Placeholder, until its author has come."""


class BreakerPlugin:
    """Nothing yet."""
