"""Placeholder, until its author has come."""


class OverloadPlugin:
    """Nothing yet."""
