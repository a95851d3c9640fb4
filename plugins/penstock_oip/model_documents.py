"""The routes about models: which there are, what they take and return, whether they are ready, and their counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from penstock import Tensor
from penstock.errors import NotFound
from penstock.hooks import Route, RouteEngine, RouteRequest, RouteResponse
from penstock_oip.model_statistics import statistics_of
from penstock_oip.oip_errors import refused
from penstock_oip.plain_answers import plain_answer
from penstock_oip.served_models import ServedModel, ServedModels
from penstock_oip.server_routes import protocol_route

_View = Callable[[ServedModel, RouteEngine], RouteResponse]


def model_routes_of(models: ServedModels, prefix: str) -> list[Route]:
    """Return the routes about some models.

    Parameters
    ----------
    models:
        The models.
    prefix:
        The beginning of their paths.
    """
    views: dict[str, _View] = {
        "/ready": _ready,
        "/config": lambda model, _engine: plain_answer(configuration_of(model)),
        "/stats": lambda model, engine: _statistics([model], engine),
    }

    def one(request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        path = request.path_values["model"]
        try:
            return _view_of(models, views, path)(engine)
        except NotFound as error:
            return refused(error)

    def listed(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        return plain_answer({"models": models.names})

    def all_statistics(_request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        return _statistics(models.all, engine)

    root = f"{prefix}/v2/models"
    return [
        protocol_route(root, "oip-models", listed, description=_summary("List the models")),
        protocol_route(f"{root}/stats", "oip-stats", all_statistics),
        protocol_route(f"{root}/{{model:path}}", "oip-model", one, description=_summary("Describe one of the models")),
    ]


def _summary(summary: str) -> dict[str, str]:
    return {"summary": f"{summary} that clients of the Open Inference Protocol may name."}


def _view_of(models: ServedModels, views: dict[str, _View], path: str) -> Callable[[RouteEngine], RouteResponse]:
    """Return what a path asks for; raises ``NotFound`` for a model that does not exist.

    A model may have a name that ends like one of the views: the longest name wins.
    """
    for ending, view in views.items():
        if path.endswith(ending) and path not in models.names:
            return partial(view, models.named(path.removesuffix(ending)))
    model = models.named(path)
    return lambda _engine: plain_answer(metadata_of(model, models.versions(model.name)))


def metadata_of(model: ServedModel, versions: list[str]) -> dict[str, Any]:
    """Return the metadata of a model."""
    outputs = {name: tensor for name, (_, tensor) in model.outputs.items()}
    return {
        "name": model.name,
        "versions": versions,
        "platform": model.platform,
        "inputs": [_described(name, tensor) for name, tensor in model.inputs.items()],
        "outputs": [_described(name, tensor) for name, tensor in outputs.items()],
    }


def _described(name: str, tensor: Tensor) -> dict[str, Any]:
    return {"name": name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


_CONFIGURED_TYPES: Final = {"BYTES": "TYPE_STRING"}


def configuration_of(model: ServedModel) -> dict[str, Any]:
    """Return the configuration of a model, in the shape that Triton's clients read.

    With batches, its dimensions are those of one item.
    """
    first = 1 if model.most_items else 0
    batching = model.endpoint.batching
    outputs = {name: tensor for name, (_, tensor) in model.outputs.items()}
    found: dict[str, Any] = {
        "name": model.name,
        "platform": model.platform,
        "backend": "python",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": model.most_items,
        "input": [
            _configured(name, tensor, first, is_required=name in model.required)
            for name, tensor in model.inputs.items()
        ],
        "output": [_configured(name, tensor, first, is_required=True) for name, tensor in outputs.items()],
    }
    if batching is not None and model.most_items:
        found["dynamic_batching"] = {"max_queue_delay_microseconds": round(batching.max_wait * 1e6)}
    return found


def _configured(name: str, tensor: Tensor, first: int, *, is_required: bool) -> dict[str, Any]:
    kind = _CONFIGURED_TYPES.get(tensor.datatype, f"TYPE_{tensor.datatype}")
    found: dict[str, Any] = {"name": name, "data_type": kind, "dims": list(tensor.shape[first:])}
    return found if is_required else {**found, "optional": True}


def _ready(model: ServedModel, engine: RouteEngine) -> RouteResponse:
    """Return whether a model's workers are ready, and the server takes requests."""
    is_ready = not engine.draining and bool(engine.status()["pools"][model.endpoint.pool]["ready"])
    return plain_answer({"name": model.name, "ready": is_ready}, status=200 if is_ready else 503)


def _statistics(models: list[ServedModel], engine: RouteEngine) -> RouteResponse:
    endpoints = engine.status()["endpoints"]
    return plain_answer({"model_stats": [statistics_of(model, endpoints[model.endpoint.name]) for model in models]})
