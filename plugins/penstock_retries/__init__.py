"""Placeholder, until its author has come."""


class RetriesPlugin:
    """Nothing yet."""
