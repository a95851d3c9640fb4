"""Shutdown: an audit line for each one, a limit on how long it takes, and routes to request it."""

from penstock_shutdown.plugin import ShutdownPlugin

__all__ = ["ShutdownPlugin"]
