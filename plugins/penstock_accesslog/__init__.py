"""Placeholder, until its author has come."""


class AccessLogPlugin:
    """Nothing yet."""
