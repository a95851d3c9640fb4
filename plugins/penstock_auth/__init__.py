"""Placeholder, until its author has come."""


class AuthPlugin:
    """Nothing yet."""
