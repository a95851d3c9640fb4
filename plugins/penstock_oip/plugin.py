"""The plug-in ``oip``: the offers of all endpoints, gathered under the paths of the Open Inference Protocol."""

from __future__ import annotations

from importlib.util import find_spec

from penstock.hooks import App, Dialect, Route, RpcService, hookimpl, offers_of
from penstock_chat import PathSettings
from penstock_oip.infer_offers import PLUGIN, Infer


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
        if not offers:
            return []
        from penstock_oip.infer_dialect import infer_dialect  # noqa: PLC0415 - apps without models start without it
        from penstock_oip.served_models import ServedModels  # noqa: PLC0415 - as above

        return [infer_dialect(ServedModels(offers), self._prefix)]

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route]:
        """Return the routes that describe the server and its models, if the app has any."""
        offers = offers_of(app, Infer)
        if not offers:
            return []
        from penstock_oip.rest_routes import rest_routes  # noqa: PLC0415 - as above
        from penstock_oip.served_models import ServedModels  # noqa: PLC0415 - as above

        return rest_routes(ServedModels(offers), self._prefix)

    @hookimpl
    def penstock_grpc_services(self, app: App) -> list[RpcService]:
        """Return the protocol's service over gRPC, if the app has any models, and protobuf is installed."""
        offers = offers_of(app, Infer)
        if not offers or not _has_protobuf():
            return []
        from penstock_oip.inference_service import inference_service  # noqa: PLC0415 - only for gRPC
        from penstock_oip.served_models import ServedModels  # noqa: PLC0415 - as above

        return [inference_service(ServedModels(offers), self.penstock_routes(app))]


def _has_protobuf() -> bool:
    try:
        return find_spec("google.protobuf") is not None
    except ModuleNotFoundError:  # nor is the package around it
        return False
