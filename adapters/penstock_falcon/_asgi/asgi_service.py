"""The engine on the server's event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

from penstock import App
from penstock.hooks import Route, RouteRequest, Submission
from penstock.hosting import Engine, RouteCall, create_engine, flush_plugins
from penstock_falcon._asgi.server_loop import LoopWaiter, running_loop
from penstock_falcon.service import Service, Settings

# A drain ends at its own deadline; the margin is for an engine that does not report the end.
DRAIN_MARGIN_SECONDS = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class AsgiService(Service[Engine]):
    """A service whose engine starts with the application, or with the first request, on the event loop that serves."""

    asks_clients_to_leave = True

    def __init__(self, app: App, engine: Engine | None, settings: Settings) -> None:
        super().__init__(app, engine, settings, engine.registry if engine is not None else None)
        self._is_drained = False
        self._end: LoopWaiter | None = None
        self._drain_has_begun = False

    def start(self) -> Engine:
        """Start the engine unless it is running. Returns at once; its pools become ready in the background."""
        if self.engine is None:
            self.engine = create_engine(self.app, target=self.settings.target, registry=self.registry)
            self.engine.on_pools_failed = self.on_pools_failed
            self.engine.reload = self.on_reload
            self.engine.on_shutdown = self.on_shutdown
            self.engine.status_page.of_host = self.host_status
            self.engine.bound_bodies(self.settings.most_waiting)
            self.engine.longest_drain = self.settings.drain_timeout
            self.engine.start()
        return self.engine

    def begin_drain(self) -> None:
        """Stop accepting work; admitted work has ``drain_timeout`` seconds. Harmless when repeated."""
        if self.engine is not None and not self._drain_has_begun:
            self._drain_has_begun = True
            self.engine.drain(self.settings.drain_timeout, self._on_drained, who="the server")

    def _on_drained(self) -> None:
        self._is_drained = True
        self._end_wait()

    def _end_wait(self) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(None)

    async def stop(self) -> None:
        """Drain and close the engine, unless the user passed it."""
        if self.engine is None or not self.is_ours:
            return
        self.begin_drain()
        loop = running_loop()
        self._end = loop.create_future()
        timer = loop.call_later(self.settings.drain_timeout + DRAIN_MARGIN_SECONDS, self._end_wait)
        try:
            if not self._is_drained:
                await self._end
        finally:
            timer.cancel()
            self.engine.close()

    @property
    def bare_engine(self) -> Engine:
        """The engine; requests are served in its own thread."""
        assert self.engine is not None, "the engine has started"
        return self.engine

    def in_engine(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return ``function`` itself: this is the engine's thread."""
        return function

    def in_engine_soon(self, function: Callable[P, object]) -> Callable[P, object]:
        """Return ``function`` itself: this is the engine's thread."""
        return function

    def ask(self, route: Route, request: RouteRequest, _submission: Submission) -> RouteCall:
        """Begin to answer a request to a route, and return at once."""
        return self.bare_engine.route_calls.begin(route, request)


class StartedService(Protocol):
    """A service, as far as the application starts and stops it."""

    def start(self) -> object:
        """Start the engine, or connect to it; return at once."""

    async def stop(self) -> None:
        """Drain, and stop."""


class Lifespan:
    """Middleware that runs only at the start and the end of the application."""

    def __init__(self, service: StartedService) -> None:
        self._service = service

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Start the engine. Models load in the background; ``/readyz`` reports when they are ready."""
        self._service.start()

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Drain the engine and stop its workers. Some servers end their process without another word, so flush now."""
        await self._service.stop()
        flush_plugins()
