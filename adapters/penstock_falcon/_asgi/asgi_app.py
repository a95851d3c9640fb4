"""Endpoints as a Falcon ASGI application."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import falcon.asgi

from penstock import App
from penstock.hosting import ENGINE_VARIABLE, Engine
from penstock_falcon._asgi.asgi_requests import BodyOnDemand, Request
from penstock_falcon._asgi.asgi_scope import normalized
from penstock_falcon._asgi.asgi_service import AsgiService, Lifespan
from penstock_falcon._asgi.asgi_transport import AsgiTransport
from penstock_falcon._asgi.direct_endpoint import DirectEndpoint, DirectOperation, DirectResource
from penstock_falcon._asgi.server_loop import is_on_asyncio
from penstock_falcon._asgi.shared_service import SharedService
from penstock_falcon.exact_router import ExactRouter
from penstock_falcon.mounting import Mount
from penstock_falcon.service import Settings

Serve: TypeAlias = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class AsgiApplication(falcon.asgi.App[Any, Any]):
    """A complete application. ``penstock`` is the service behind it."""

    penstock: AsgiService | SharedService
    direct_endpoints: dict[bytes, DirectResource]
    """The resources that a server may call without this interface, by path as it is sent: see ``DirectResource``."""

    def add_middleware(self, middleware: Any) -> None:
        """Add middleware, as to any Falcon application. It sees every request, so none is answered without it."""
        self.direct_endpoints.clear()
        super().add_middleware(middleware)

    def add_route(self, uri_template: str, resource: object, **options: Any) -> None:
        """Add a resource, as to any Falcon application."""
        self.direct_endpoints.pop(uri_template.encode(), None)
        super().add_route(uri_template, resource, **options)

    def serve_below(self, root_path: str) -> None:
        """Have the direct endpoints found below a path too: the ``root_path`` that the server will name."""
        self.direct_endpoints |= {root_path.encode() + path: found for path, found in self.direct_endpoints.items()}

    def __init__(self, service: AsgiService | SharedService) -> None:
        self.direct_endpoints = {}
        super().__init__(request_type=Request, middleware=[Lifespan(service)], router=ExactRouter())
        self.penstock = service
        self._serve: Serve | None = None

    async def __call__(  # type: ignore[override] # Falcon's own signature differs from its base class's
        self, scope: dict[str, Any], receive: Any, send: Any
    ) -> None:
        """Serve one request, or the application's lifespan."""
        if scope["type"] == "http":
            receive = BodyOnDemand(receive)
            scope = normalized(scope)
        await (self._serve or self._choose_loop())(scope, receive, send)

    def _choose_loop(self) -> Serve:
        """Return how to serve on the running loop. Like its engine, an application is used on one kind of loop only."""
        self._serve = super().__call__
        if not is_on_asyncio():
            from penstock_falcon._asgi.trio_loop import serve_on_trio  # noqa: PLC0415 - only on trio

            self._serve = partial(serve_on_trio, self._serve)
        return self._serve


def asgi(
    app: App,
    *,
    engine: Engine | None = None,
    debug: bool = Settings.debug,
    max_body: int = Settings.max_body,
    spill_above: int = Settings.spill_above,
    max_waiting: int | None = Settings.max_waiting,
    drain_timeout: float = Settings.drain_timeout,
    target: str | None = Settings.target,
    compress: bool = Settings.compress,
    trusted_proxies: Sequence[str] = Settings.trusted_proxies,
    docs: bool = Settings.docs,
) -> AsgiApplication:
    """Return a complete ASGI application that serves ``app``.

    Its ``penstock`` attribute is the service behind it, with the engine, the app and the settings. The engine starts at
    the lifespan's start-up, or with the first request if the server has no lifespan; models load in the background.

    Parameters
    ----------
    app:
        The app to serve.
    engine:
        A running engine, on the event loop that will serve; its creator stops it. By default the application starts
        and stops an engine of its own.
    debug, max_body, spill_above, max_waiting, drain_timeout, target, compress, trusted_proxies, docs:
        As in ``Settings``.
    """
    settings = Settings(
        debug=debug,
        max_body=max_body,
        spill_above=spill_above,
        max_waiting=max_waiting,
        drain_timeout=drain_timeout,
        target=target,
        compress=compress,
        trusted_proxies=trusted_proxies,
        docs=docs,
    )
    return application_of(_service(app, engine, settings))


def application_of(service: AsgiService | SharedService) -> AsgiApplication:
    """Return the application around a service."""
    application = AsgiApplication(service)
    mount = Mount(application, service, AsgiTransport(), DirectEndpoint, DirectOperation)
    mount.add_paths("")
    mount.add_error_handlers()
    for path, resources in mount.paths.items():
        resource = resources.get("POST")
        if isinstance(resource, DirectResource) and resource.is_direct:
            application.direct_endpoints[path.encode()] = resource
    return application


def mount_asgi(
    falcon_app: falcon.asgi.App[Any, Any], app: App, prefix: str, engine: Engine | None, settings: Settings
) -> AsgiService | SharedService:
    """Add the endpoints to an existing application."""
    service = _service(app, engine, settings)
    Mount(falcon_app, service, AsgiTransport()).add_paths(prefix)
    falcon_app.add_middleware(Lifespan(service))
    return service


def _service(app: App, engine: Engine | None, settings: Settings) -> AsgiService | SharedService:
    path = os.environ.get(ENGINE_VARIABLE)
    if engine is None and path:
        return SharedService(app, path, settings)
    return AsgiService(app, engine, settings)
