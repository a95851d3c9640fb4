"""The native interface as a dialect: JSON in, JSON or a stream out, errors as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from penstock.app import Endpoint
from penstock.errors import InvalidRequest, PenstockError, UnsupportedMediaType
from penstock.hooks.dialects import Dialect, DialectRequest, Framing, Operation, Payload, PublicError
from penstock.hooks.framings import choose_framing
from penstock.hooks.public_errors import public_error
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
        method=endpoint.method,
        read=_reader(endpoint),
        choose=lambda _request: endpoint.name,
        reads_body=False,
    )


def _reader(endpoint: Endpoint) -> Callable[[DialectRequest], Payload]:
    codec = endpoint.codec

    def read(request: DialectRequest) -> Payload:
        form_type = form_type_of(endpoint, request.header("content-type"))
        accept = request.header("accept")
        form = codec.input_form(request.path_values, request.query, form_type, accept)
        return Payload(endpoint=endpoint.name, input_form=form, memo=accept)

    return read


def form_type_of(endpoint: Endpoint, content_type: str | None) -> str:
    """Return the content type, if it is that of a form which the endpoint reads; "" if the body is a plain one.

    Raises
    ------
    UnsupportedMediaType
        If the endpoint does not read it; has the fix.
    """
    form_type = endpoint.codec.form_type(content_type)
    if form_type is not None:
        return form_type
    if endpoint.codec.reads == "form":
        fields = endpoint.codec.form_fields
        needed = [field for field in fields if field.required] or fields[:1]
        options = " ".join(f"-F {field.name}={'@FILE' if field.is_file else 'VALUE'}" for field in needed)
        raise UnsupportedMediaType(f"{endpoint.path} takes a file, and so a form: send it with curl {options}")
    raise UnsupportedMediaType(
        f"{endpoint.path} reads JSON, not {content_type!r}: send it with -H 'Content-Type: application/json'"
    )


def write_result(answer: Encoded, _payload: Payload) -> RouteResponse:
    """Return a result as it is, with the status and the headers that the handler has set."""
    return RouteResponse(
        body=answer.body, status=answer.status, media_type=answer.media_type or JSON, headers=answer.headers or {}
    )


def stream_framing(head: Encoded, payload: Payload) -> Framing | None:
    """Return the framing that the client accepts, for chunks that are JSON."""
    return choose_framing(payload.memo) if head.media_type is None else None


def error_document(error: PenstockError, request_id: str) -> bytes:
    """Return an error as the body of a problem document, for a caller who will read it later."""
    return problem_document(public_error(error, request_id, debug=False)).body


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
