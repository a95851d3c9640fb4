"""The engine on a background thread."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import ParamSpec, TypeVar

from penstock import App
from penstock.errors import EngineError
from penstock.hooks import Route, RouteRequest, Submission
from penstock.hosting import Engine, ThreadedCall, ThreadedEngine, ThreadedRouteCall
from penstock_falcon.hangups import AnyCall, AnyRouteCall
from penstock_falcon.joint_calls import submit_together
from penstock_falcon.service import Service, Settings

P = ParamSpec("P")
T = TypeVar("T")


class WsgiService(Service[ThreadedEngine]):
    """A service whose engine starts with the first request, in the process that serves it.

    A server may fork after it has loaded the application, and a thread does not survive that.
    """

    # PEP 3333 forbids an application to set hop-by-hop headers; the server closes its connections itself.
    asks_clients_to_leave = False

    def __init__(self, app: App, engine: ThreadedEngine | None, settings: Settings) -> None:
        self._starting = threading.Lock()
        super().__init__(app, engine, settings, engine.engine.registry if engine is not None else None)

    def start(self) -> ThreadedEngine:
        """Start the engine unless it is running. Returns at once; its pools become ready in the background."""
        if self.engine is None:
            with self._starting:
                if self.engine is None:
                    engine = ThreadedEngine(
                        self.app,
                        drain_timeout=self.settings.drain_timeout,
                        target=self.settings.target,
                        registry=self.registry,
                    )
                    engine.engine.bound_bodies(self.settings.most_waiting)
                    self.engine = engine
                    # WSGI does not announce the end of the application; the end of the process does.
                    atexit.register(self.stop)
        return self.engine

    def begin_drain(self) -> None:
        """Stop accepting work; admitted work has ``drain_timeout`` seconds. Harmless when repeated."""
        if self.engine is not None and not self.engine.draining:
            self.engine.drain(self.settings.drain_timeout)

    def stop(self) -> None:
        """Drain the engine and end its thread and its workers, unless the user passed it."""
        if self.engine is not None and self.is_ours:
            atexit.unregister(self.stop)
            self.engine.close()

    @property
    def bare_engine(self) -> Engine:
        """The engine inside the threaded one."""
        assert self.engine is not None, "the engine has started"
        return self.engine.engine

    def submit_parts(
        self,
        engine: ThreadedEngine,
        exchange: Submission,
        bodies: Sequence[bytes],
        headers: dict[str, str] | None,
        *,
        is_streamed: bool,
    ) -> AnyCall:
        """Submit a job for each of several inputs of one request; all of them, or none."""

        def submit_here() -> ThreadedCall:
            joint = submit_together(engine.engine, exchange, bodies, headers, is_streamed=is_streamed)
            return ThreadedCall(engine, joint)  # type: ignore[arg-type] # it has what is used of a call

        return engine.run(submit_here)

    def ask(self, route: Route, request: RouteRequest, _submission: Submission) -> AnyRouteCall:
        """Begin to answer a request to a route, and return at once."""
        engine = self.engine
        assert engine is not None, "it has been started for this request"

        if route.is_local:
            return engine.engine.route_calls.begin(route, request)

        def begin_here() -> AnyRouteCall:
            call = engine.engine.route_calls.begin(route, request)
            return call if call.outcome is not None else ThreadedRouteCall(engine, call)

        return engine.run(begin_here)

    def in_engine(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return ``function`` as a callable that runs it in the engine's thread and returns its result."""

        def run(*arguments: P.args, **options: P.kwargs) -> T:
            assert self.engine is not None, "the engine has started"
            return self.engine.run(partial(function, *arguments, **options))

        return run

    def in_engine_soon(self, function: Callable[P, object]) -> Callable[P, object]:
        """Return ``function`` as a callable that has it run in the engine's thread, or here without one."""

        def run_soon(*arguments: P.args, **options: P.kwargs) -> None:
            if self.engine is not None:
                try:
                    self.engine.run_soon(partial(function, *arguments, **options))
                    return
                except EngineError:
                    pass  # the engine has been closed, and its thread has ended
            function(*arguments, **options)

        return run_soon
