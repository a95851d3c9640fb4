"""An application whose engine is at the other end of a socket, as in one of several HTTP processes."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.app import App
from penstock.app.manifest import Manifest
from penstock.hooks.pipeline import admission_pipeline
from penstock.hooks.records import RequestAnswered
from penstock.hosting import AsyncioReactor, EngineServer, EngineSocket, EngineState, SharedEngine
from penstock_falcon._asgi.asgi_app import application_of
from penstock_falcon._asgi.shared_service import SharedService
from penstock_falcon.service import Settings
from tests.adapters.falcon.direct_server import DirectServer
from tests.adapters.falcon.fake_engine import FakeEngine

PATIENCE = 10.0


class SharedServer:
    """An ASGI application, for the test client: each request has a connection to the engine of its own.

    The test client runs each request in a loop of its own, and a connection belongs to a loop.
    """

    def __init__(self, app: App, engine: FakeEngine, **settings: Any) -> None:
        self._app = app
        self._engine = engine
        self._socket = EngineSocket()
        engine.registry.observe(app)
        self._service = SharedService(app, self._socket.path, Settings(**settings), engine.registry)
        self.application = application_of(self._service)
        self.penstock = self._service

    def __getattr__(self, name: str) -> Any:
        return getattr(self.application, name)

    def __del__(self) -> None:
        self._socket.close()

    def _shared_engine(self) -> SharedEngine:
        app, engine, registry = self._app, self._engine, self._engine.registry
        engine.endpoint = {endpoint.name: endpoint for endpoint in app.endpoints}.__getitem__
        engine.reactor = AsyncioReactor()
        return SharedEngine(
            engine=engine,  # type: ignore[arg-type] # it has what is used of an engine
            digest=Manifest.of(app).digest,
            pipelines={endpoint.name: admission_pipeline(registry, endpoint) for endpoint in app.endpoints},
            routes={route.key: route for route in registry.routes(app)},
            on_answered=registry.observer_of(RequestAnswered),
            state=EngineState(is_draining=engine.draining),
        )

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        server = EngineServer(self._shared_engine(), self._socket.listener)
        self._service.engine = None
        remote = self._service.start()
        while not remote.connection.is_connected:  # noqa: ASYNC110 - it is there after a few turns of the loop
            await asyncio.sleep(0)
        try:
            await self.application(scope, receive, send)
        finally:
            remote.close()  # once what is unsent is sent
            async with asyncio.timeout(PATIENCE):
                while server.status()["hosts"]:  # noqa: ASYNC110 - its end is noticed in a turn of this loop
                    await asyncio.sleep(0)
            server.close()


def shared(app: App, *, engine: FakeEngine, **settings: Any) -> SharedServer:
    """Return what ``penstock_falcon.asgi`` returns in one of several HTTP processes."""
    return SharedServer(app, engine, **settings)


def shared_direct(app: App, *, engine: FakeEngine, **settings: Any) -> DirectServer:
    """Return the same, reached without ASGI."""
    return DirectServer(SharedServer(app, engine, **settings))
