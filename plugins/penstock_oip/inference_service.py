"""``inference.GRPCInferenceService``: the protocol over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from penstock.errors import NotFound
from penstock.hooks import Route, RouteResponse, RpcOperation, RpcQuestion, RpcRequest, RpcService
from penstock_oip import inference_messages as messages
from penstock_oip.inference_calls import decoded, infer_reader, infer_reply, stream_error, stream_reply
from penstock_oip.served_models import VERSIONS, ServedModels


def inference_service(models: ServedModels, routes: Sequence[Route]) -> RpcService:
    """Return the service.

    Parameters
    ----------
    models:
        The models.
    routes:
        The routes of the protocol over HTTP, which answer what needs no job.
    """
    named = {route.name: route for route in routes}
    read = infer_reader(models)

    def question(name: str, route: str, read: Callable[[RpcRequest], Mapping[str, str]], reply: Any) -> RpcQuestion:
        return RpcQuestion(name=name, route=named[route], read=read, reply=reply)

    return RpcService(
        name=messages.SERVICE,
        methods=(
            question("ServerLive", "oip-live", _nothing(messages.ServerLiveRequest), _live),
            question("ServerReady", "oip-ready", _nothing(messages.ServerReadyRequest), _server_ready),
            question("ServerMetadata", "oip-server", _nothing(messages.ServerMetadataRequest), _server_metadata),
            question("ModelReady", "oip-model", _model(messages.ModelReadyRequest, "/ready"), _model_ready),
            question("ModelMetadata", "oip-model", _model(messages.ModelMetadataRequest, ""), _model_metadata),
            RpcOperation(name="ModelInfer", read=read, result=infer_reply),
            RpcOperation(name="ModelStreamInfer", read=read, chunk=stream_reply, error=stream_error, takes_stream=True),
        ),
        descriptors=messages.DESCRIPTORS,
    )


def _nothing(kind: Any) -> Callable[[RpcRequest], Mapping[str, str]]:
    def read(request: RpcRequest) -> Mapping[str, str]:
        decoded(kind, request.message)
        return {}

    return read


def _model(kind: Any, ending: str) -> Callable[[RpcRequest], Mapping[str, str]]:
    """Return the function that reads which model a message names, as the route has it in its path."""

    def read(request: RpcRequest) -> Mapping[str, str]:
        asked = decoded(kind, request.message)
        version = f"{VERSIONS}{asked.version}" if asked.version else ""
        return {"model": f"{asked.name}{version}{ending}"}

    return read


def _content(response: RouteResponse) -> dict[str, Any]:
    """Return what a route has answered.

    Raises
    ------
    NotFound
        If there is no such model.
    """
    found: dict[str, Any] = msgspec.json.decode(response.body)
    if response.status == NotFound.status:
        raise NotFound(found["error"])
    return found


def _live(response: RouteResponse) -> bytes:
    reply: bytes = messages.ServerLiveResponse(live=_content(response)["live"]).SerializeToString()
    return reply


def _server_ready(response: RouteResponse) -> bytes:
    reply: bytes = messages.ServerReadyResponse(ready=_content(response)["ready"]).SerializeToString()
    return reply


def _model_ready(response: RouteResponse) -> bytes:
    is_known = response.status != NotFound.status  # Triton, too, says that a model it does not have is not ready
    is_ready = is_known and _content(response)["ready"]
    reply: bytes = messages.ModelReadyResponse(ready=is_ready).SerializeToString()
    return reply


def _server_metadata(response: RouteResponse) -> bytes:
    reply: bytes = messages.ServerMetadataResponse(**_content(response)).SerializeToString()
    return reply


def _model_metadata(response: RouteResponse) -> bytes:
    reply: bytes = messages.ModelMetadataResponse(**_content(response)).SerializeToString()
    return reply
