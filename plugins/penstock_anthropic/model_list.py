"""``/v1/models`` as Anthropic's clients expect it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.errors import NotFound
from penstock.hooks import PublicError, Route, RouteEngine, RouteRequest, RouteResponse
from penstock_anthropic.anthropic_errors import error_response
from penstock_anthropic.message_descriptions import ENTRY_DESCRIPTION, LIST_DESCRIPTION
from penstock_anthropic.message_offers import Messages

# The time of a release that is not known, as the protocol has it.
UNKNOWN_TIME = "1970-01-01T00:00:00Z"


def listing_routes(offers: Iterable[Messages], prefix: str) -> list[Route]:
    """Return the routes that list the models of some offers, aliases included, on one page.

    Parameters
    ----------
    offers:
        The offers.
    prefix:
        The beginning of their paths.
    """
    models: dict[str, dict[str, Any]] = {name: _model(name) for offer in offers for name in offer.names}
    names = list(models)
    page = {"data": list(models.values()), "has_more": False, "first_id": names[0], "last_id": names[-1]}

    def listed(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        return RouteResponse.json(page)

    def retrieved(request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        name = request.path_values["model"]
        return RouteResponse.json(models[name]) if name in models else _unknown(name, request.request_id)

    path = f"{prefix}/v1/models"
    return [
        Route(path=path, name="anthropic-models", handler=listed, is_for_callers=True, description=LIST_DESCRIPTION),
        Route(
            path=f"{path}/{{model:path}}",
            name="anthropic-model",
            handler=retrieved,
            is_for_callers=True,
            description=ENTRY_DESCRIPTION,
        ),
    ]


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": UNKNOWN_TIME, "lifecycle": "active"}


def _unknown(name: str, request_id: str) -> RouteResponse:
    return error_response(
        PublicError(
            status=NotFound.status,
            code=NotFound.code,
            title=NotFound.title,
            message=f"The model {name[:100]!r} does not exist",
            type="invalid_request_error",
            request_id=request_id,
        )
    )
