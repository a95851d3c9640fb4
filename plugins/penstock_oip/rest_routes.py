"""The routes of the protocol over REST, all but the inference itself."""

from __future__ import annotations

from penstock.hooks import Route
from penstock_oip.model_documents import model_routes_of
from penstock_oip.repository_routes import repository_routes
from penstock_oip.served_models import ServedModels
from penstock_oip.server_routes import server_routes, unknown_routes


def rest_routes(models: ServedModels, prefix: str) -> list[Route]:
    """Return the routes about the server, about some models, and about the repository.

    Parameters
    ----------
    models:
        The models.
    prefix:
        The beginning of their paths.
    """
    return [
        *server_routes(prefix),
        *model_routes_of(models, prefix),
        *repository_routes(models, prefix),
        *unknown_routes(prefix),
    ]
