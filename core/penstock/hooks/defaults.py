"""The core's own decisions, made through the same hooks as a plug-in's."""

from __future__ import annotations

from collections.abc import Callable

from penstock.app import App
from penstock.errors import NotReady, PenstockError
from penstock.hooks.dialects import Dialect
from penstock.hooks.hookspecs import hookimpl
from penstock.hooks.native_dialect import native_dialect
from penstock.hooks.records import ShutdownRequest
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.scheduler import FifoQueue, Job, Queue, retry_lost


@hookimpl(trylast=True)
def penstock_queue_discipline() -> Callable[[], Queue]:
    """Serve jobs first come, first served."""
    return FifoQueue


@hookimpl(trylast=True)
def penstock_retry_policy() -> Callable[[Job, PenstockError, float], float | None]:
    """Retry only jobs whose worker was lost, immediately, up to ``Retries.max_attempts``."""
    return retry_lost


@hookimpl(trylast=True)
def penstock_shutdown_policy() -> Callable[[ShutdownRequest], float]:
    """Grant the drain that was asked for."""
    return lambda request: request.drain


@hookimpl(trylast=True)
def penstock_routes() -> list[Route]:
    """Add the routes for liveness, readiness and status."""
    return [
        Route(path="/livez", name="livez", handler=livez, is_open=True, is_local=True),
        Route(path="/readyz", name="readyz", handler=readyz, is_open=True),
        Route(path="/-/status", name="status", handler=status),
    ]


@hookimpl(trylast=True)
def penstock_dialects(app: App) -> list[Dialect]:
    """Add the native interface."""
    return [native_dialect(app.endpoints)] if app.endpoints else []


def livez(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
    """Return 200 as long as the process can answer at all, whatever its engine does."""
    return RouteResponse.json({"status": "ok"})


def readyz(_request: RouteRequest, engine: RouteEngine) -> RouteResponse:
    """Return 200 if every pool has a ready worker and the engine is not draining, otherwise 503 with the reasons."""
    reasons = engine.unready_reasons()
    if not reasons:
        return RouteResponse.json({"status": "ready"})
    return RouteResponse.json({"status": "unready", "reasons": reasons}, NotReady.status)


def status(_request: RouteRequest, engine: RouteEngine) -> RouteResponse:
    """Return the engine's status: its pools, workers and endpoints."""
    return RouteResponse.json(engine.status())
