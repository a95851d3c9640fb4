"""The arguments and the results of a tool as JSON Schemas, as each generation of the protocol wants them."""

from __future__ import annotations

from typing import Any, Final

from penstock.hooks import Endpoint

RESULT_FIELD: Final = "result"
"""The field of the object around a result that is not an object."""

_DEFINITIONS: Final = "#/$defs/"


def is_object(schema: dict[str, Any]) -> bool:
    """Return whether every value that fits is an object, and the schema says so at its root."""
    return schema.get("type") == "object"


def wrapped(schema: dict[str, Any], field: str, *, is_required: bool = True) -> dict[str, Any]:
    """Return the schema of an object with one field. The definitions stay at the root, where references find them."""
    inner = {keyword: value for keyword, value in schema.items() if keyword != "$defs"}
    found: dict[str, Any] = {"type": "object", "properties": {field: inner}}
    if is_required:
        found["required"] = [field]
    if "$defs" in schema:
        found["$defs"] = schema["$defs"]
    return found


def argument_schema(endpoint: Endpoint) -> tuple[dict[str, Any], str | None]:
    """Return the schema of the arguments, and the name of the one argument that is the whole body.

    That name is None where the arguments are the body, as they are if it is an object.
    """
    schema = _at_root(endpoint.codec.input_schema())
    if is_object(schema):
        return schema, None
    (parameter,) = endpoint.codec.parameters  # only the body of one parameter can be anything else
    return wrapped(schema, parameter.name, is_required=parameter.required), parameter.name


def result_schema(endpoint: Endpoint) -> dict[str, Any] | None:
    """Return the schema of a result; None if the handler promises nothing, or may return something else than JSON."""
    codec = endpoint.codec
    if codec.media_type is not None or codec.returns_response or codec.has_filter:
        return None
    schema = _at_root(codec.output_schema())
    if not schema or "contentMediaType" in schema:
        return None
    return _listed(schema) if endpoint.is_stream else schema


def _listed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of all chunks of a stream."""
    chunk = {keyword: value for keyword, value in schema.items() if keyword != "$defs"}
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    return {"type": "array", "items": chunk, **definitions}


def _at_root(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that is only a reference to one of its definitions as that definition: the type is recursive."""
    reference = schema.get("$ref", "")
    if not reference.startswith(_DEFINITIONS):
        return schema
    return {**schema["$defs"][reference.removeprefix(_DEFINITIONS)], "$defs": schema["$defs"]}
