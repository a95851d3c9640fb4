"""Retries: jobs that failed for a transient reason run again, after a delay and within a budget."""

from penstock_retries.plugin import RetriesPlugin

__all__ = ["RetriesPlugin"]
