"""``/v1/models``: the models that clients may name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.hooks import Route, RouteEngine, RouteRequest, RouteResponse
from penstock_chat import ModelOffer
from penstock_openai.answer_memo import now
from penstock_openai.openai_errors import not_found
from penstock_openai.path_descriptions import MODEL_DESCRIPTION, MODELS_DESCRIPTION


def model_routes(offers: Iterable[ModelOffer], prefix: str) -> list[Route]:
    """Return the routes that list the models of some offers, aliases included.

    Parameters
    ----------
    offers:
        The offers. A name of several kinds of models is listed once.
    prefix:
        The beginning of their paths.
    """
    created = now()
    models: dict[str, dict[str, Any]] = {
        name: {"id": name, "object": "model", "created": created, "owned_by": "penstock"}
        for offer in offers
        for name in offer.names
    }

    def listed(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        return RouteResponse.json({"object": "list", "data": list(models.values())})

    def retrieved(request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        name = request.path_values["model"]
        return RouteResponse.json(models[name]) if name in models else _unknown(name, request)

    return [
        Route(
            path=f"{prefix}/models",
            name="openai-models",
            handler=listed,
            is_for_callers=True,
            description=MODELS_DESCRIPTION,
        ),
        Route(
            path=f"{prefix}/models/{{model:path}}",
            name="openai-model",
            handler=retrieved,
            is_for_callers=True,
            description=MODEL_DESCRIPTION,
        ),
    ]


def _unknown(name: str, request: RouteRequest) -> RouteResponse:
    return not_found(f"The model {name[:100]!r} does not exist", request.request_id, param="model")
