"""The plug-in ``oip``: the offers of all endpoints, gathered under the paths of the Open Inference Protocol."""

from __future__ import annotations

from importlib.util import find_spec

from penstock.hooks import App, Dialect, Route, RpcService, hookimpl, offers_of
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

    @hookimpl
    def penstock_grpc_services(self, app: App) -> list[RpcService]:
        """Return the protocol's service over gRPC, if the app has any models, and protobuf is installed."""
        offers = offers_of(app, Infer)
        if not offers or not _has_protobuf():
            return []
        from penstock_oip.inference_service import inference_service  # noqa: PLC0415 - only for gRPC

        return [inference_service(ServedModels(offers), self.penstock_routes(app))]


def _has_protobuf() -> bool:
    try:
        return find_spec("google.protobuf") is not None
    except ModuleNotFoundError:  # nor is the package around it
        return False
