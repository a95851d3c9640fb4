"""Placeholder, until its author has come."""


class ShutdownPlugin:
    """Nothing yet."""
