"""The whole response of a route, for a ``PluginHarness``: what its handler waits for, and what it streams, included."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse


def whole_response(route: Route, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
    """Return the response of a route with all of its body, at the end of its stream.

    Raises
    ------
    PenstockError
        If the route refuses the request, or fails, even within the stream.
    """
    answer: Any = route.handler(request, engine)
    if route.waits or answer.stream is not None:
        return asyncio.run(_collected(answer))
    response: RouteResponse = answer
    return response


async def _collected(answer: Any) -> RouteResponse:
    response: RouteResponse = answer if isinstance(answer, RouteResponse) else await answer
    if response.stream is None:
        return response
    try:
        pieces = [response.body, *[piece async for piece in response.stream]]
    finally:
        close = getattr(response.stream, "aclose", None)
        if close is not None:
            await close()
    return msgspec.structs.replace(response, body=b"".join(pieces), stream=None)
