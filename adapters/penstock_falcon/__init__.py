"""Serve a Penstock app through Falcon.

``asgi(app)`` and ``wsgi(app)`` are complete applications for any ASGI or WSGI server; ``mount`` adds the endpoints to
an existing Falcon application.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import falcon
import falcon.asgi

from penstock import App
from penstock_falcon._asgi.asgi_app import asgi, mount_asgi
from penstock_falcon._asgi.asgi_requests import Request
from penstock_falcon._wsgi.wsgi_app import mount_wsgi, wsgi
from penstock_falcon.service import Service, Settings

__all__ = ["Request", "Service", "Settings", "asgi", "mount", "wsgi"]


def mount(
    falcon_app: falcon.App[Any, Any],
    app: App,
    prefix: str = "/models",
    *,
    engine: Any = None,
    debug: bool = Settings.debug,
    max_body: int = Settings.max_body,
    spill_above: int = Settings.spill_above,
    max_waiting: int | None = Settings.max_waiting,
    drain_timeout: float = Settings.drain_timeout,
    compress: bool = Settings.compress,
    trusted_proxies: Sequence[str] = Settings.trusted_proxies,
    docs: bool = Settings.docs,
) -> Service[Any]:
    """Add the endpoints of ``app``, and the health routes, to an existing Falcon application.

    Its error handlers are left alone: the mounted resources answer their own errors. For the full service, make an ASGI
    application with ``falcon.asgi.App(request_type=penstock_falcon.Request)``: only then is a body that is too large
    refused before it is read, and a client that goes away noticed without relying on Falcon's private attributes.

    Parameters
    ----------
    falcon_app:
        A ``falcon.App`` or ``falcon.asgi.App``.
    app:
        The app to serve.
    prefix:
        Prepended to every path: ``/models`` turns ``/square`` into ``/models/square``. May be empty.
    engine, debug, max_body, spill_above, max_waiting, drain_timeout, compress, trusted_proxies, docs:
        As for ``asgi`` and ``wsgi``.

    Returns
    -------
    Service
        The service behind the endpoints, with the engine, the app and the settings.

    Raises
    ------
    DeclarationError
        If ``prefix`` does not begin with a slash, or ends with one.
    """
    settings = Settings(
        debug=debug,
        max_body=max_body,
        spill_above=spill_above,
        max_waiting=max_waiting,
        drain_timeout=drain_timeout,
        compress=compress,
        trusted_proxies=trusted_proxies,
        docs=docs,
    )
    if isinstance(falcon_app, falcon.asgi.App):
        return mount_asgi(falcon_app, app, prefix, engine, settings)
    return mount_wsgi(falcon_app, app, prefix, engine, settings)
