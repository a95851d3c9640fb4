"""Deadlines that callers bring along in a header, and limits of the operator's for each caller.

Both only tighten what an endpoint allows.
"""

from penstock_timeouts.plugin import TimeoutsPlugin

__all__ = ["TimeoutsPlugin"]
