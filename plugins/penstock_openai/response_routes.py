"""The routes of responses that have been stored: there are none here, and clients hear so."""

from __future__ import annotations

from typing import Literal

from penstock.hooks import Route, RouteEngine, RouteRequest, RouteResponse
from penstock_openai.openai_errors import not_found


def response_routes(prefix: str) -> list[Route]:
    """Return the routes for a response that a client names, under a prefix."""
    methods: tuple[Literal["GET", "DELETE", "POST"], ...] = ("GET", "DELETE", "POST")
    return [
        Route(
            path=f"{prefix}/responses/{{response:path}}",
            name=f"openai-response-{method.lower()}",
            handler=_not_stored,
            method=method,
            is_for_callers=True,
            is_local=True,
        )
        for method in methods
    ]


def _not_stored(request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
    name = request.path_values["response"].partition("/")[0]
    return not_found(f"There is no response {name[:100]!r}: responses are not stored here", request.request_id)
