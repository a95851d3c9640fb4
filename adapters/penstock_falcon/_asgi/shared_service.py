"""A service whose engine has a process of its own, which other HTTP processes use too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from penstock import App, Endpoint
from penstock.errors import NotReady, PenstockError
from penstock.hooks import RequestAnswered, Route, RouteRequest, RouteResponse, Submission
from penstock.hosting import (
    AsyncioReactor,
    Engine,
    Pipeline,
    Registry,
    RemoteCall,
    RemoteEngine,
    RemoteUpload,
    request_pipeline,
    route_pipeline,
)
from penstock_falcon.service import Service, Settings

READINESS = "readyz"

P = ParamSpec("P")
T = TypeVar("T")


class SharedService(Service[RemoteEngine]):
    """A service that asks the policies which need only the request, and leaves the others to the engine's process.

    Parameters
    ----------
    app:
        The app.
    path:
        The path of the engine's socket.
    settings:
        The settings.
    registry:
        The plug-ins. Default: the installed ones, and the app's own.

    Attributes
    ----------
    on_disagreement:
        Called with the reason if the engine serves another version of the app. Set it before the engine starts.
    """

    asks_clients_to_leave = True

    def __init__(self, app: App, path: str, settings: Settings, registry: Registry | None = None) -> None:
        self._path = path
        super().__init__(app, None, settings, registry)
        self.on_disagreement: Callable[[str], None] | None = None
        self._connected = asyncio.Event()
        self._drained = asyncio.Event()
        self._drain_has_begun = False

    def start(self) -> RemoteEngine:
        """Connect to the engine unless that has begun. Returns at once."""
        if self.engine is None:
            self.engine = RemoteEngine(self.app, AsyncioReactor(), self._path, self.registry)
            self.engine.host_status = self.host_status
            self.engine.on_connected = self._connected.set
            if self.on_disagreement is not None:
                self.engine.on_disagreement = self.on_disagreement
            self.engine.start()
        return self.engine

    async def connected(self) -> None:
        """Wait for the engine to introduce itself."""
        await self._connected.wait()

    def begin_drain(self) -> None:
        """Stop accepting work; admitted work has ``drain_timeout`` seconds. Harmless when repeated."""
        if self.engine is not None and not self._drain_has_begun:
            self._drain_has_begun = True
            self.engine.drain(self.settings.drain_timeout, self._drained.set)

    async def stop(self) -> None:
        """Drain, and disconnect from the engine."""
        if self.engine is not None:
            self.begin_drain()
            await self._drained.wait()
            self.engine.close()

    @property
    def is_complete(self) -> bool:
        """True once every pool of the engine has been ready."""
        return self.engine is not None and self.engine.connection.is_complete

    # ---- the engine's thread

    @property
    def bare_engine(self) -> Engine:
        """There is none in this process."""
        raise AssertionError("the engine is in a process of its own")

    def in_engine(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return ``function`` itself: what runs here needs no engine."""
        return function

    def in_engine_soon(self, function: Callable[P, object]) -> Callable[P, object]:
        """Return ``function`` itself, as ``in_engine``."""
        return function

    # ---- requests

    def request_observer(self) -> Callable[[RequestAnswered], object]:
        """Return the way to the observers, which are beside the engine."""
        return self._report

    def _report(self, record: RequestAnswered) -> None:
        if self.engine is not None:
            self.engine.report(record)

    def pipeline(self, target: Endpoint | Route) -> Pipeline | None:
        """Return the policies that are asked here, or None if there are none."""
        if isinstance(target, Route):
            return route_pipeline(self.registry, target)
        return request_pipeline(self.registry, target)

    def body_budget(self, submission: Submission) -> RemoteUpload:
        """Return the upload of a large body to the engine."""
        assert self.engine is not None, "it has been started for this request"
        return self.engine.begin_upload(submission)

    def early_budget(self, endpoint: Endpoint) -> None:
        """Return None: the engine counts a body together with its endpoint's policies."""

    def submit_fault(self, submission: Submission, error: PenstockError) -> RemoteCall:
        """Have the engine's policies asked about a request in which something is wrong; they may refuse it first."""
        assert self.engine is not None, "it has been started for this request"
        return self.engine.submit_fault(submission, error)

    def refuse(self, submission: Submission, error: PenstockError) -> None:
        """Let the engine know that the request will not become a job."""
        if self.engine is not None:
            self.engine.refuse(submission, error)

    async def ask(self, route: Route, request: RouteRequest, submission: Submission) -> RouteResponse:
        """Return the answer of a route, from beside the engine; about this process, it answers by itself."""
        engine = self.engine
        assert engine is not None, "it has been started for this request"
        if route.is_local or (route.name == READINESS and engine.unready_reasons()):
            return route.handler(request, engine)  # type: ignore[arg-type] # these look at the readiness at most
        if engine.closed:
            raise NotReady("this process is shutting down")
        return await engine.ask(route, request, submission)
