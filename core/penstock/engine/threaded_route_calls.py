"""Calls of routes for other threads than the engine's."""

from __future__ import annotations

from penstock.engine.route_calls import RouteCall
from penstock.engine.threaded_engine import ThreadedCall, ThreadedEngine


class ThreadedRouteCall(ThreadedCall):
    """A ``RouteCall`` that any one thread may wait for."""

    def __init__(self, threaded: ThreadedEngine, call: RouteCall) -> None:
        super().__init__(threaded, call)  # type: ignore[arg-type] # it has what is used of a call
        self._route_call = call

    @property
    def keep_alive(self) -> bytes:
        """See ``RouteCall``."""
        return self._route_call.keep_alive
