"""A dialect that says the same as the native interface, with its functions, and serves each endpoint below ``/toy``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import penstock_falcon
from penstock.app import App
from penstock.hooks.native_dialect import native_dialect
from tests.adapters.falcon.direct_server import direct
from tests.adapters.falcon.shared_server import shared


def add_toy(app: App) -> None:
    """Have the toy dialect serve all endpoints of an app."""
    native = native_dialect(app.endpoints)
    operations = tuple(replace(operation, path=f"/toy{operation.path}") for operation in native.operations)
    dialect = replace(native, name="toy", endpoints=(), operations=operations)
    for endpoint in app.endpoints:
        object.__setattr__(endpoint, "dialects", (dialect,))


class ToyServer:
    """An application, for the test client, around another: requests to endpoints go to the dialect's paths."""

    def __init__(self, application: Any, paths: list[str]) -> None:
        self.application = application
        self.penstock = application.penstock
        self._paths = {path: f"/toy{path}" for path in paths}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.application, name)

    def moved(self, path: str) -> str:
        """Return the path in the dialect, if it is that of an endpoint."""
        return self._paths.get(path, path)


class ToyAsgiServer(ToyServer):
    """The same for ASGI."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = self.moved(scope["path"])
            scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        await self.application(scope, receive, send)


class ToyWsgiServer(ToyServer):
    """The same for WSGI."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self.application({**environ, "PATH_INFO": self.moved(environ["PATH_INFO"])}, start_response)


def _served(build: Callable[..., Any], server: type[ToyServer]) -> Callable[..., ToyServer]:
    def build_toy(app: App, **options: Any) -> ToyServer:
        add_toy(app)
        return server(build(app, **options), [endpoint.path for endpoint in app.endpoints])

    return build_toy


toy_direct = _served(direct, ToyAsgiServer)
toy_asgi = _served(penstock_falcon.asgi, ToyAsgiServer)
toy_wsgi = _served(penstock_falcon.wsgi, ToyWsgiServer)
toy_shared = _served(shared, ToyAsgiServer)
