"""The native interface as a dialect: JSON in, JSON or a stream out, errors as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from penstock.app import Endpoint
from penstock.errors import InvalidRequest
from penstock.hooks.dialects import Dialect, DialectRequest, Framing, Operation, Payload, PublicError
from penstock.hooks.framings import choose_framing
from penstock.hooks.routes import RouteResponse
from penstock.response import JSON, Encoded

NATIVE = "native"
PROBLEM = "application/problem+json"

_encode = msgspec.json.Encoder().encode


def native_dialect(endpoints: Iterable[Endpoint]) -> Dialect:
    """Return the dialect in which each endpoint is served at its own path."""
    names = {endpoint.name: endpoint for endpoint in endpoints}
    return Dialect(
        name=NATIVE,
        endpoints=tuple(names),
        operations=tuple(_operation_of(endpoint) for endpoint in names.values()),
        result=write_result,
        error=problem_document,
        framing=stream_framing,
    )


def _operation_of(endpoint: Endpoint) -> Operation:
    return Operation(
        path=endpoint.path,
        read=_reader(endpoint.name),
        choose=lambda _request: endpoint.name,
        media_types=(JSON, "application/*+json") if endpoint.codec.reads == "json" else None,
    )


def _reader(name: str) -> Callable[[DialectRequest], Payload]:
    def read(request: DialectRequest) -> Payload:
        return Payload(endpoint=name, memo=request.header("accept"))

    return read


def write_result(answer: Encoded, _payload: Payload) -> RouteResponse:
    """Return a result as it is, with the status and the headers that the handler has set."""
    return RouteResponse(
        body=answer.body, status=answer.status, media_type=answer.media_type or JSON, headers=answer.headers or {}
    )


def stream_framing(head: Encoded, payload: Payload) -> Framing | None:
    """Return the framing that the client accepts, for chunks that are JSON."""
    return choose_framing(payload.memo) if head.media_type is None else None


def problem_document(error: PublicError) -> RouteResponse:
    """Return an error as a problem document, with an ``error`` object for OpenAI-style clients."""
    document: dict[str, Any] = {
        "type": f"urn:penstock:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "instance": error.request_id,
        "error": error.as_object(),
    }
    if error.code == InvalidRequest.code:
        document["errors"] = error.errors
    if error.traceback:
        document["traceback"] = error.traceback
    return RouteResponse(body=_encode(document), status=error.status, media_type=PROBLEM)
