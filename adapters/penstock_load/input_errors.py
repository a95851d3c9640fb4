"""The error of a run that cannot begin."""

from __future__ import annotations


class LoadError(Exception):
    """A run cannot begin as it was asked for; the message names the cause and the fix."""
