"""The plug-in ``oip``: the offers of all endpoints, gathered under the paths of the Open Inference Protocol."""

from __future__ import annotations

from penstock.hooks import App, Dialect, Route, hookimpl, offers_of
from penstock_chat import PathSettings
from penstock_oip.infer_dialect import infer_dialect
from penstock_oip.infer_offers import PLUGIN, Infer
from penstock_oip.model_documents import model_routes_of
from penstock_oip.repository_routes import repository_routes
from penstock_oip.served_models import ServedModels
from penstock_oip.server_routes import server_routes, unknown_routes


class OipSettings(PathSettings, frozen=True, kw_only=True):
    """The settings of the paths."""

    example = "/triton"

    prefix: str = ""


class OipPlugin:
    """The plug-in.

    Parameters
    ----------
    settings:
        Its settings.
    """

    name = PLUGIN
    Settings = OipSettings

    def __init__(self, settings: OipSettings) -> None:
        self._prefix = settings.prefix

    @hookimpl
    def penstock_dialects(self, app: App) -> list[Dialect]:
        """Return the dialect of the models, if the app has any."""
        offers = offers_of(app, Infer)
        return [infer_dialect(ServedModels(offers), self._prefix)] if offers else []

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route]:
        """Return the routes that describe the server and its models, if the app has any."""
        offers = offers_of(app, Infer)
        if not offers:
            return []
        models = ServedModels(offers)
        prefix = self._prefix
        return [
            *server_routes(prefix),
            *model_routes_of(models, prefix),
            *repository_routes(models, prefix),
            *unknown_routes(prefix),
        ]
