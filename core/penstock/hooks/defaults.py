"""The core's own decisions, made by the same hooks as anybody's."""

from __future__ import annotations

from collections.abc import Callable

from penstock.errors import NotReady, PenstockError
from penstock.hooks.hookspecs import hookimpl
from penstock.hooks.records import ShutdownRequest
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.scheduler import FifoQueue, Job, Queue, retry_lost


@hookimpl(trylast=True)
def penstock_queue_discipline() -> Callable[[], Queue]:
    """First come, first served."""
    return FifoQueue


@hookimpl(trylast=True)
def penstock_retry_policy() -> Callable[[Job, PenstockError, float], float | None]:
    """Lost workers only, at once, as often as ``Retries.max_attempts`` allows."""
    return retry_lost


@hookimpl(trylast=True)
def penstock_shutdown_policy() -> Callable[[ShutdownRequest], float]:
    """As long as is asked for."""
    return lambda request: request.drain


@hookimpl(trylast=True)
def penstock_routes() -> list[Route]:
    """Is it alive, is it ready, what is it doing."""
    return [
        Route(path="/livez", name="livez", handler=livez, is_open=True),
        Route(path="/readyz", name="readyz", handler=readyz, is_open=True),
        Route(path="/-/status", name="status", handler=status),
    ]


def livez(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
    """200 for as long as the process can answer at all, whatever its engine does."""
    return RouteResponse.json({"status": "ok"})


def readyz(_request: RouteRequest, engine: RouteEngine) -> RouteResponse:
    """200 when every pool has a ready worker and nothing drains, else 503 with the reasons."""
    reasons = engine.unready_reasons()
    if not reasons:
        return RouteResponse.json({"status": "ready"})
    return RouteResponse.json({"status": "unready", "reasons": reasons}, NotReady.status)


def status(_request: RouteRequest, engine: RouteEngine) -> RouteResponse:
    """What the engine knows of its pools, workers and endpoints."""
    return RouteResponse.json(engine.status())
