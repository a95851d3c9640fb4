"""Serve a Penstock app through Falcon.

``asgi(app)`` and ``wsgi(app)`` are complete applications for any ASGI or WSGI server; ``mount`` adds the endpoints to a
Falcon application that exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import falcon
import falcon.asgi

from penstock import App
from penstock_falcon.asgi import asgi, mount_asgi
from penstock_falcon.bodies import Request
from penstock_falcon.service import MAX_BODY, Service, Settings
from penstock_falcon.wsgi import mount_wsgi, wsgi

__all__ = ["Request", "Service", "Settings", "asgi", "mount", "wsgi"]


def mount(
    falcon_app: falcon.App[Any, Any],
    app: App,
    prefix: str = "/models",
    *,
    engine: Any = None,
    debug: bool = False,
    max_body: int = MAX_BODY,
    drain_timeout: float = 30.0,
    trusted_proxies: Sequence[str] = (),
) -> Service[Any]:
    """Add the endpoints of ``app``, and the health routes, to a Falcon application that exists.

    Its error handlers are left alone: the mounted resources answer their own errors. Make an ASGI application with
    ``falcon.asgi.App(request_type=penstock_falcon.Request)`` for the full service: a body that is too large is then
    noticed before it is read, and a client that goes away without relying on Falcon's private parts.

    Parameters
    ----------
    falcon_app:
        A ``falcon.App`` or ``falcon.asgi.App``.
    app:
        What to serve.
    prefix:
        What comes before every path: ``/models`` makes ``/square`` into ``/models/square``. May be empty.
    engine, debug, max_body, drain_timeout, trusted_proxies:
        As for ``asgi`` and ``wsgi``.

    Returns
    -------
    Service
        The service behind the endpoints, with the engine, the app and the settings.

    Raises
    ------
    DeclarationError
        If the prefix is not one.
    """
    settings = Settings(
        debug=debug, max_body=max_body, drain_timeout=drain_timeout, trusted_proxies=tuple(trusted_proxies)
    )
    if isinstance(falcon_app, falcon.asgi.App):
        return mount_asgi(falcon_app, app, prefix, engine, settings)
    return mount_wsgi(falcon_app, app, prefix, engine, settings)
