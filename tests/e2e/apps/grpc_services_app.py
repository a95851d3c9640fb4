"""A plug-in with a gRPC service of its own, whose messages are texts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from penstock import App, Timeouts
from penstock.errors import MalformedRequest, NotFound
from penstock.hooks import (
    Payload,
    Route,
    RouteResponse,
    RpcOperation,
    RpcQuestion,
    RpcRequest,
    RpcService,
    hookimpl,
)


def read(request: RpcRequest) -> Payload:
    """Read ``name value``."""
    name, _, value = request.message.decode().partition(" ")
    if name == "crash":
        raise RuntimeError("the plug-in's own mistake")
    if not value:
        raise MalformedRequest("say: name value")
    return Payload(endpoint=name, body=msgspec.json.encode({"value": value}), memo=name, timeout=5.0)


def ask(request: RpcRequest) -> dict[str, str]:
    """Read a name."""
    return {"name": request.message.decode()}


def route_of_names(request: Any, engine: Any) -> RouteResponse:
    """Answer beside the engine."""
    name = request.path_values["name"]
    if name == "nobody":
        raise NotFound("there is nobody")
    return RouteResponse.json({"name": name, "ready": not engine.unready_reasons(), "path": request.path})


NAMES = Route(path="/names/{name}", name="names", handler=route_of_names, is_for_callers=True)


class ToyServices:
    """The plug-in."""

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        """Add the route that the question asks."""
        return [NAMES]

    @hookimpl
    def penstock_grpc_services(self) -> list[RpcService]:
        """Add the service."""
        return [
            RpcService(
                name="toy.Toys",
                methods=(
                    RpcOperation(name="Once", read=read, result=lambda result, payload: result.body),
                    RpcOperation(
                        name="Many",
                        read=read,
                        chunk=lambda chunk, head, payload: payload.memo.encode() + b":" + chunk,
                    ),
                    RpcOperation(
                        name="Talk",
                        read=read,
                        chunk=lambda chunk, head, payload: chunk,
                        takes_stream=True,
                        error=lambda error, payload: f"error {error.code}: {error.message}".encode(),
                    ),
                    RpcQuestion(name="Name", route=NAMES, read=ask, reply=lambda response: response.body),
                ),
            )
        ]


app = App(__name__, plugins=[ToyServices])


@app.endpoint("/echo")
def echo(value: str) -> str:
    """Return the text."""
    return value


@app.endpoint("/spell")
def spell(value: str) -> Iterator[str]:
    """Return its letters."""
    yield from value


@app.endpoint("/slow", timeouts=Timeouts(execution=0.2))
def slow(value: str) -> str:
    """Take too long."""
    time.sleep(5)
    return value
