"""Deadlines that callers send in a header, and the operator's limits for each caller.

Both can only tighten an endpoint's own timeouts.
"""

from penstock_timeouts.plugin import TimeoutsPlugin

__all__ = ["TimeoutsPlugin"]
