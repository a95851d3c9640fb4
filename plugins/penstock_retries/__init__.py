"""Retries: what has failed for a passing reason is tried again, a little later, and not for ever."""

from penstock_retries.plugin import RetriesPlugin

__all__ = ["RetriesPlugin"]
