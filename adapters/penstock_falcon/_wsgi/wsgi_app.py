"""Endpoints as a Falcon WSGI application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import falcon

from penstock import App
from penstock.hosting import ThreadedEngine
from penstock_falcon._wsgi.wsgi_service import WsgiService
from penstock_falcon._wsgi.wsgi_transport import WsgiTransport
from penstock_falcon.exact_router import ExactRouter
from penstock_falcon.mounting import Mount
from penstock_falcon.service import Settings


class WsgiApplication(falcon.App[Any, Any]):
    """A complete application. ``penstock`` is the service behind it."""

    penstock: WsgiService


def wsgi(
    app: App,
    *,
    engine: ThreadedEngine | None = None,
    debug: bool = Settings.debug,
    max_body: int = Settings.max_body,
    spill_above: int = Settings.spill_above,
    max_waiting: int | None = Settings.max_waiting,
    drain_timeout: float = Settings.drain_timeout,
    target: str | None = Settings.target,
    compress: bool = Settings.compress,
    trusted_proxies: Sequence[str] = Settings.trusted_proxies,
    docs: bool = Settings.docs,
) -> WsgiApplication:
    """Return a complete WSGI application that serves ``app``.

    The engine runs on a thread of its own, started by the first request in the process that serves it. The parameters
    are those of ``asgi``.
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
    service = WsgiService(app, engine, settings)
    application = WsgiApplication(router=ExactRouter())
    application.penstock = service
    mount = Mount(application, service, WsgiTransport())
    mount.add_paths("")
    mount.add_error_handlers()
    return application


def mount_wsgi(
    falcon_app: falcon.App[Any, Any], app: App, prefix: str, engine: ThreadedEngine | None, settings: Settings
) -> WsgiService:
    """Add the endpoints to an existing application."""
    service = WsgiService(app, engine, settings)
    Mount(falcon_app, service, WsgiTransport()).add_paths(prefix)
    return service
