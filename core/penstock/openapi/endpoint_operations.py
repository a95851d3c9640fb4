"""One endpoint as an operation of the document: its body, its parameters, its responses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from penstock.app import Endpoint
from penstock.codec.npy_bodies import NPY
from penstock.hooks.descriptions import EndpointDescription, HeaderDescription
from penstock.openapi.error_responses import response_name, shared_headers
from penstock.openapi.request_inputs import RequestInput, binary
from penstock.openapi.schema_components import Schema, SchemaComponents, cleaned
from penstock.openapi.schema_digests import DIGEST
from penstock.response import JSON, OCTETS

OTHER_ERRORS: Final = "OtherError"
LIMITS: Final = "x-penstock-timeouts"
REQUEST_ID: Final = "RequestId"
NDJSON, EVENTS = "application/x-ndjson", "text/event-stream"

# A body may be malformed, late, too large, compressed, or not fit; its job may fail, be refused, or be stopped.
_ALWAYS: Final = (400, 408, 413, 415, 422, 500, 503, 504)
_NAMED_BY_PLUGINS: Final = frozenset({401, 403, 404, 429})
_UNFIT_IN_ID: Final = re.compile(r"[^A-Za-z0-9._-]+")


class EndpointSchemas:
    """The schemas of one endpoint, added to the components of the document.

    Parameters
    ----------
    endpoint:
        The endpoint.
    components:
        The schemas of the document.

    Attributes
    ----------
    input:
        The input.
    """

    def __init__(self, endpoint: Endpoint, components: SchemaComponents) -> None:
        codec = endpoint.codec
        classes = codec.class_names()
        self._components = components
        self.input = RequestInput(endpoint, components)
        self._output = {} if codec.returns_response else _with_root_defined(codec.output_schema(), classes)
        components.add(self._output, "Output", classes)

    def output(self) -> Schema:
        """Return the schema of a result, or of one chunk, as it is in the document."""
        return self._components.place(self._output)


def _with_root_defined(schema: Schema, classes: Mapping[str, object]) -> Schema:
    """Return the schema of a class as a definition and a reference to it, so that clients get a name for the class."""
    name = schema.get("title")
    if name not in classes or "properties" not in schema:
        return schema
    root = {keyword: value for keyword, value in schema.items() if keyword != "$defs"}
    return {"$ref": f"#/$defs/{name}", "$defs": {**schema.get("$defs", {}), name: root}}


def operation_ids(endpoints: Iterable[Endpoint]) -> dict[str, str]:
    """Return the id of each endpoint's operation, by the endpoint's name: that name, in characters that any tool takes.

    An endpoint whose name needs no change has its own name for certain.
    """
    names = [endpoint.name for endpoint in endpoints]
    ids = {name: name for name in names if not _UNFIT_IN_ID.search(name)}
    for name in names:
        cleaned, number = _UNFIT_IN_ID.sub("_", name).strip("_") or "endpoint", 1
        unique = cleaned
        while name not in ids and unique in ids.values():
            number += 1
            unique = f"{cleaned}_{number}"
        ids.setdefault(name, unique)
    return ids


def statuses_of(schemas: EndpointSchemas, descriptions: Iterable[EndpointDescription]) -> list[int]:
    """Return the statuses of the errors that any client of an endpoint may meet."""
    named = {kind.status for each in descriptions for kind in each.errors} & _NAMED_BY_PLUGINS
    return sorted({*_ALWAYS, *named, *([404] if schemas.input.has_path_variables else [])})


def operation(
    endpoint: Endpoint, schemas: EndpointSchemas, descriptions: Sequence[EndpointDescription], operation_id: str
) -> dict[str, Any]:
    """Return the operation of an endpoint."""
    summary, text = _texts(endpoint.handler)
    security = security_of([descriptions])
    body = schemas.input.body()
    return {
        "operationId": operation_id,
        "tags": [tag_of(endpoint)],
        **({"summary": summary} if summary else {}),
        **({"description": text} if text else {}),
        **({"x-stream": True} if endpoint.is_stream else {}),
        "parameters": [*schemas.input.parameters(), *_header_parameters(descriptions)],
        **({"requestBody": body} if body else {}),
        "responses": _responses(endpoint, schemas, descriptions),
        **({"security": security} if security else {}),
        LIMITS: {name: seconds for name, seconds in _limits(endpoint) if seconds is not None},
        DIGEST: "",  # known once all components are
    }


def _limits(endpoint: Endpoint) -> Iterator[tuple[str, float | None]]:
    """Yield the endpoint's own limits that a client may be compared with, in seconds."""
    for name in ("queue", "execution", "total"):
        yield name, getattr(endpoint.timeouts, name)


def _authenticating(descriptions: Iterable[EndpointDescription]) -> list[EndpointDescription]:
    """Return the first description that names credentials, as the first authenticator is the only one."""
    return [description for description in descriptions if description.credentials][:1]


def security_of(descriptions: Iterable[Sequence[EndpointDescription]]) -> list[dict[str, list[str]]]:
    """Return the credentials of which a caller of these endpoints needs one, with the scopes that all need."""
    found: dict[str, list[frozenset[str]]] = {}
    for some in descriptions:
        for description in _authenticating(some):
            for name in description.credentials:
                found.setdefault(name, []).append(frozenset(description.scopes))
    return [{name: sorted(frozenset.intersection(*scopes))} for name, scopes in found.items()]


def security_schemes(descriptions: Iterable[Sequence[EndpointDescription]]) -> dict[str, Any]:
    """Return the security schemes of all endpoints, by name."""
    return {
        name: dict(scheme)
        for some in descriptions
        for description in _authenticating(some)
        for name, scheme in description.credentials.items()
    }


def tag_of(endpoint: Endpoint) -> str:
    """Return the group of an endpoint: the first part of its path, or its name if that part is a variable."""
    first = endpoint.path.split("/")[1]
    return endpoint.name if first[:1] in ("", "{") else first


def _texts(handler: Any) -> tuple[str, str]:
    """Return the summary and the description in a docstring: its first line, and the rest.

    A class without one has that of its ``predict``.
    """
    predict = getattr(handler, "predict", handler)
    text = inspect.cleandoc(handler.__doc__ or predict.__doc__ or "")
    summary, _, rest = text.partition("\n")
    return summary.strip(), rest.strip()


# ---- the request


def _header_parameters(descriptions: Iterable[EndpointDescription]) -> Iterator[dict[str, Any]]:
    yield {"$ref": f"#/components/parameters/{REQUEST_ID}"}
    for name in _headers_of(description.request_headers for description in descriptions):
        yield {"$ref": f"#/components/parameters/{cleaned(name)}"}


def parameters(descriptions: Iterable[EndpointDescription]) -> dict[str, Any]:
    """Return the headers that requests may have, as components."""
    own = {
        "in": "header",
        "name": "X-Request-Id",
        "description": "An id for the request, which the response and the server's log repeat.",
        "schema": {"type": "string"},
    }
    named = _headers_of(description.request_headers for description in descriptions)
    described = {
        cleaned(name): {"in": "header", "name": name, "description": header.text, "schema": dict(header.schema)}
        for name, header in named.items()
    }
    return {REQUEST_ID: own, **described}


def _headers_of(groups: Iterable[Mapping[str, HeaderDescription]]) -> dict[str, HeaderDescription]:
    """Return the headers of several plug-ins. The case of a name does not matter, and the first description counts."""
    found: dict[str, tuple[str, HeaderDescription]] = {}
    for group in groups:
        for name, header in group.items():
            found.setdefault(name.lower(), (name, header))
    return dict(found.values())


# ---- the responses


def _responses(
    endpoint: Endpoint, schemas: EndpointSchemas, descriptions: Sequence[EndpointDescription]
) -> dict[str, Any]:
    added = _headers_of(description.response_headers for description in descriptions)
    success = {
        "description": _success_text(endpoint),
        "headers": {
            **shared_headers(),
            **{name: {"description": each.text, "schema": dict(each.schema)} for name, each in added.items()},
        },
        "content": _content(endpoint, schemas),
    }
    failures = {
        str(status): {"$ref": f"#/components/responses/{response_name(status)}"}
        for status in statuses_of(schemas, descriptions)
    }
    return {"200": success, **_added_responses(descriptions), **failures, "default": _other_response(endpoint)}


def _added_responses(descriptions: Iterable[EndpointDescription]) -> dict[str, Any]:
    """Return the responses that plug-ins send in place of the endpoint's; the first description of a status counts."""
    found: dict[int, Mapping[str, Any]] = {}
    for description in descriptions:
        found = {**description.responses, **found}
    return {
        str(status): {**response, "headers": {**shared_headers(), **response.get("headers", {})}}
        for status, response in sorted(found.items())
        if status != 200
    }


def _other_response(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.codec.returns_response:
        return {"description": "Any other response of the handler, or an error.", "content": {"*/*": {}}}
    return {"$ref": f"#/components/responses/{OTHER_ERRORS}"}


def _success_text(endpoint: Endpoint) -> str:
    if not endpoint.is_stream:
        return "The result."
    if endpoint.media_type is not None:
        return "The stream, as its chunks become known. If it fails, the connection is cut."
    return (
        "The chunks of the stream, each as soon as it is known: lines of JSON, or an event each. The schema is that of "
        'one chunk. If the stream fails, its last line is `{"error": ...}`, or its last event has the name `error`.'
    )


def _content(endpoint: Endpoint, schemas: EndpointSchemas) -> dict[str, Any]:
    codec = endpoint.codec
    if codec.returns_response:
        return {"*/*": {}}
    schema = schemas.output()
    media_type = endpoint.media_type
    if media_type is not None:
        found = {media_type: schema if media_type.startswith("text/") else binary(schema)}
    elif endpoint.is_stream:
        found = {NDJSON: schema, EVENTS: schema}
    else:
        found = _json_and_bytes(schema)
        if codec.tensors.answers_npy:
            found[NPY] = binary({"type": "string", "contentMediaType": NPY})
    mark = {"x-stream": True} if endpoint.is_stream else {}
    return {name: {"schema": each, **mark} for name, each in found.items()}


def _json_and_bytes(schema: Schema) -> dict[str, Schema]:
    """Return the schemas of a result by media type: bytes are sent as they are, and all else as JSON."""
    options = schema.get("anyOf", [schema])
    others = [option for option in options if option.keys().isdisjoint({"contentEncoding", "contentMediaType"})]
    if len(others) == len(options):
        return {JSON: schema}
    in_json = {} if not others else {JSON: others[0] if len(others) == 1 else {**schema, "anyOf": others}}
    return {**in_json, OCTETS: binary({"type": "string", "contentMediaType": OCTETS})}
