"""The way down: one audit line for each shutdown, a limit on its time, and routes to ask for it."""

from penstock_shutdown.plugin import ShutdownPlugin

__all__ = ["ShutdownPlugin"]
