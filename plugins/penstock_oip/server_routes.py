"""The routes about the server: its name, its health; and errors in the protocol's own shape for all other paths."""

from __future__ import annotations

from typing import Any, Final

from penstock import __version__
from penstock.hooks import Route, RouteEngine, RouteRequest, RouteResponse
from penstock_oip.oip_errors import error_response, refusal
from penstock_oip.plain_answers import plain_answer

EXTENSIONS: Final = ("binary_tensor_data", "model_repository", "model_configuration", "statistics")


def server_routes(prefix: str) -> list[Route]:
    """Return the routes about the server.

    Parameters
    ----------
    prefix:
        The beginning of their paths.
    """
    root = f"{prefix}/v2"
    described = {"summary": "Name the server, for clients of the Open Inference Protocol."}
    return [
        protocol_route(root, "oip-server", _server, description=described),
        protocol_route(f"{root}/", "oip-server-slash", _server),
        protocol_route(f"{root}/health/live", "oip-live", _live, is_open=True),
        protocol_route(f"{root}/health/ready", "oip-ready", _ready, is_open=True),
    ]


def unknown_routes(prefix: str) -> list[Route]:
    """Return the routes of all other paths, which are not supported. They come last."""
    path = f"{prefix}/v2/{{rest:path}}"
    return [
        protocol_route(path, "oip-unknown", _unknown),
        protocol_route(path, "oip-unknown-post", _unknown, method="POST", reads_body=True),
    ]


def protocol_route(path: str, name: str, handler: Any, **more: Any) -> Route:
    """Return a route for callers, whose errors have the protocol's own shape."""
    is_for_callers = not more.get("is_open")
    return Route(path=path, name=name, handler=handler, is_for_callers=is_for_callers, error=error_response, **more)


def _server(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
    return plain_answer({"name": "penstock", "version": __version__, "extensions": EXTENSIONS})


def _live(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
    return plain_answer({"live": True})


def _ready(_request: RouteRequest, engine: RouteEngine) -> RouteResponse:
    reasons = engine.unready_reasons()
    if not reasons:
        return plain_answer({"ready": True})
    return plain_answer({"ready": False, "error": "; ".join(reasons)}, status=503)


def _unknown(request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
    return refusal(f"{request.method} {request.path[:200]}: this part of the protocol is not supported here", 404)
