"""The routes of the model repository: its index, and refusals of what would change it."""

from __future__ import annotations

from typing import Any, Final

from penstock.hooks import Route, RouteEngine, RouteRequest, RouteResponse
from penstock_oip.oip_errors import refusal
from penstock_oip.plain_answers import plain_answer
from penstock_oip.served_models import ServedModels
from penstock_oip.server_routes import protocol_route

NOT_SUPPORTED: Final = 501


def repository_routes(models: ServedModels, prefix: str) -> list[Route]:
    """Return the routes of the repository.

    Parameters
    ----------
    models:
        The models.
    prefix:
        The beginning of their paths.
    """

    def index(_request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        pools = engine.status()["pools"]
        return plain_answer([_entry(model.name, model.version, pools[model.endpoint.pool]) for model in models.all])

    root = f"{prefix}/v2/repository"
    return [
        protocol_route(f"{root}/index", "oip-index", index, method="POST", reads_body=True),
        protocol_route(f"{root}/models/{{model:path}}", "oip-load", _refuse_to_load, method="POST", reads_body=True),
    ]


def _entry(name: str, version: str, pool: dict[str, Any]) -> dict[str, str]:
    is_ready = pool["ready"]
    reason = "" if is_ready else str(pool["failure"] or "its workers are not ready yet")
    return {"name": name, "version": version, "state": "READY" if is_ready else "UNAVAILABLE", "reason": reason}


def _refuse_to_load(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
    return refusal(
        "models are loaded and unloaded with the server here: change the app, and reload or restart it", NOT_SUPPORTED
    )
