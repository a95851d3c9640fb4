"""``/v2/models/NAME/infer`` as a dialect."""

from __future__ import annotations

import re
from typing import Any, Final

from penstock.errors import NotFound
from penstock.hooks import Dialect, DialectRequest, Operation, Payload, RouteResponse
from penstock_oip.infer_descriptions import infer_description
from penstock_oip.infer_requests import json_bytes_of, tensor_request
from penstock_oip.oip_errors import error_response
from penstock_oip.served_models import VERSIONS, ServedModel, ServedModels
from penstock_oip.tensor_payloads import payload_of

INFER: Final = "/infer"
_SMALL_BYTES: Final = 1 << 16
_PLAIN_PATH: Final = re.compile(r"[\w.~/-]+", re.ASCII)


def infer_dialect(models: ServedModels, prefix: str) -> Dialect:
    """Return the dialect of the models.

    Each has paths of its own, which are found faster; all other names are read from the rest of one path.

    Parameters
    ----------
    models:
        The models.
    prefix:
        The beginning of all paths.
    """
    root = f"{prefix}/v2/models/"
    paths = {f"{root}{model.name}{INFER}": models.newest(model.name) for model in models.all}
    paths |= {f"{root}{model.name}{VERSIONS}{model.version}{INFER}": model for model in models.all}
    return Dialect(
        name="oip-infer",
        operations=(
            *(_operation(path, model) for path, model in paths.items() if _PLAIN_PATH.fullmatch(path)),
            _other_names(root, models),
        ),
        endpoints=tuple(dict.fromkeys(model.endpoint.name for model in models.all)),
        result=_written,
        error=error_response,
        passes_bodies=True,
    )


def _operation(path: str, model: ServedModel) -> Operation:
    return Operation(
        path=path,
        choose=lambda _request: model.endpoint.name,
        read=lambda request: payload_of(model, tensor_request(request, model)),
        head_bytes=json_bytes_of,
        description=infer_description(model) if VERSIONS not in path else None,
    )


def _other_names(root: str, models: ServedModels) -> Operation:
    def found(request: DialectRequest) -> ServedModel:
        rest = request.path_values["model"]
        if not rest.endswith(INFER):
            raise NotFound(f"Nothing is served at {request.path[:200]!r}; models are at {root}NAME{INFER}")
        return models.named(rest.removesuffix(INFER))

    def read(request: DialectRequest) -> Payload:
        model = found(request)
        return payload_of(model, tensor_request(request, model))

    def choose(request: DialectRequest) -> str | None:
        try:
            return found(request).endpoint.name
        except NotFound:
            if not _is_small(request):
                raise
            return None  # `read` says so: a connection whose request has been read can be used again

    return Operation(
        path=f"{root}{{model:path}}",
        choose=choose,
        read=read,
        head_bytes=json_bytes_of,
    )


def _is_small(request: DialectRequest) -> bool:
    announced = request.header("content-length") or ""
    return announced.isdecimal() and len(announced) < 6 and int(announced) <= _SMALL_BYTES


def _written(answer: Any, _payload: Payload) -> RouteResponse:
    """Return what the worker has written."""
    return RouteResponse(
        body=answer.body,
        status=answer.status,
        media_type=answer.media_type or "application/json",
        headers=answer.headers or {},
    )
