"""The routes of stored responses, which are those that were asked for as background responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qs

from penstock.errors import InvalidRequest, NotFound
from penstock.hooks import CallerJobs, Route, RouteEngine, RouteRequest, RouteResponse
from penstock_openai.openai_errors import refusal
from penstock_openai.stored_responses import cancelled_response, no_response, stored_response

CANCEL_SECONDS: Final = 5.0
"""The time for which a cancel waits for the end of the work, so that the response is most often ``cancelled``."""

Answer: TypeAlias = Callable[[RouteRequest, CallerJobs, str], Awaitable[dict[str, Any]]]
"""Takes a request, the jobs of its caller, and the rest of the path; returns the response object."""


def stored_routes(prefix: str) -> list[Route]:
    """Return the routes for a response that a client names, under a prefix."""
    return [
        _route(prefix, "GET", _retrieved),
        _route(prefix, "POST", _cancelled),
        _route(prefix, "DELETE", _deleted),
    ]


def _route(prefix: str, method: Literal["GET", "POST", "DELETE"], answer: Answer) -> Route:
    async def handler(request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        path = request.path_values["response"]
        jobs = engine.jobs_of(request)
        try:
            if jobs is None:
                name = path.partition("/")[0]
                raise NotFound(f"There is no response {name[:100]!r}: responses are not stored here")
            return RouteResponse.json(await answer(request, jobs, path))
        except (NotFound, InvalidRequest) as error:
            return refusal(error, request.request_id)

    return Route(
        path=f"{prefix}/responses/{{response:path}}",
        name=f"openai-response-{method.lower()}",
        handler=handler,
        method=method,
        is_for_callers=True,
    )


async def _retrieved(request: RouteRequest, jobs: CallerJobs, path: str) -> dict[str, Any]:
    if parse_qs(request.query).get("stream", ["false"])[-1] == "true":
        raise InvalidRequest("`stream`: a stored response cannot be streamed; retrieve it again later", param="stream")
    return await stored_response(jobs, path)


async def _cancelled(_request: RouteRequest, jobs: CallerJobs, path: str) -> dict[str, Any]:
    name, _, action = path.partition("/")
    if action != "cancel":
        raise no_response(path)
    return await cancelled_response(jobs, name, wait=CANCEL_SECONDS)


async def _deleted(_request: RouteRequest, jobs: CallerJobs, path: str) -> dict[str, Any]:
    await stored_response(jobs, path)
    raise InvalidRequest("a response is not deleted on request: it is removed with its job, in time")
