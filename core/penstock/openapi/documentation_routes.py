"""The routes that describe an app to the people and programs that call it."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, cast

import msgspec

from penstock.app import App
from penstock.hooks.registry import Registry
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.openapi.page_routes import page_routes

DOCUMENT_PATH: Final = "/openapi.json"
# Relative to the document itself, so that it is right behind any prefix: that of a mount, or of a proxy.
_BESIDE_THE_DOCUMENT: Final = "."


def documentation_routes(app: App, registry: Registry) -> list[Route]:
    """Return the routes that serve the description of the app. A path that an endpoint has is left to it."""

    @cache
    def document() -> bytes:
        return msgspec.json.encode(openapi_document(app, registry, server=_BESIDE_THE_DOCUMENT))

    def answer(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        return RouteResponse(body=document())

    document_route = Route(path=DOCUMENT_PATH, name="openapi", handler=answer, is_for_callers=True, is_local=True)
    routes = [document_route, *page_routes()]
    taken = {endpoint.path for endpoint in app.endpoints}
    return [route for route in routes if route.path not in taken]


def openapi_document(app: App, registry: Registry, *, server: str = "/") -> dict[str, Any]:
    """Return the OpenAPI document of an app, ready for JSON.

    Parameters
    ----------
    app:
        The app.
    registry:
        Its plug-ins, which know about credentials and headers.
    server:
        The URL of the server, absolute or relative to the document.
    """
    from penstock.openapi.document import build_document  # noqa: PLC0415 - a server whose document is not read has none

    document = build_document(app, registry, server)
    # A default in a schema may be a value that JSON does not have.
    return cast("dict[str, Any]", msgspec.json.decode(msgspec.json.encode(document, enc_hook=str)))


def schema_digest(app: App, registry: Registry) -> str:
    """Return the digest of what clients of an app are generated from, as it is in the document."""
    from penstock.openapi.schema_digests import DIGEST  # noqa: PLC0415 - the same

    return str(openapi_document(app, registry)[DIGEST])
