"""The input of an endpoint in the document: its body in every form that it takes, and its path and query parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock.app import Endpoint
from penstock.codec.form_bodies import MULTIPART, URLENCODED
from penstock.codec.input_parameters import InputParameter
from penstock.codec.npy_bodies import NPY
from penstock.openapi.schema_components import Schema, SchemaComponents
from penstock.response import JSON, OCTETS

_MEDIA_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "json": (JSON, URLENCODED, MULTIPART),
    "bytes": (OCTETS, MULTIPART),
    "form": (MULTIPART,),
    "query": (),
}
"""The media types of bodies, by what the codec reads; the first is the usual one."""
_NULL: Final = {"type": "null"}
_FORMS: Final = (URLENCODED, MULTIPART)


class RequestInput:
    """The input of one endpoint, with its schemas among the components of the document.

    Parameters
    ----------
    endpoint:
        The endpoint.
    components:
        The schemas of the document.
    """

    def __init__(self, endpoint: Endpoint, components: SchemaComponents) -> None:
        codec = endpoint.codec
        self._components = components
        self._body = _untitled(codec.body_schema(), getattr(endpoint.handler, "predict", endpoint.handler))
        self._fields = codec.form_fields if self._body is not None else ()
        self._parameters = [parameter for parameter in codec.parameters if parameter.source != "body"]
        takes_npy = codec.form_type(NPY) == NPY
        self._media_types = (*_MEDIA_TYPES[codec.reads], *((NPY,) if takes_npy else ()))
        self._is_required = not codec.accepts_empty
        classes = codec.class_names()
        inputs = [*self._fields, *self._parameters]
        for schema in (self._body, *(parameter.schema for parameter in inputs)):
            if schema is not None:
                components.add(schema, "Input", classes)

    @property
    def has_path_variables(self) -> bool:
        """True if a part of the path is a parameter."""
        return any(parameter.source == "path" for parameter in self._parameters)

    def parameters(self) -> Iterator[dict[str, Any]]:
        """Yield the parameters from the path and the query."""
        for parameter in self._parameters:
            schema = without_null(self._components.place(parameter.schema))
            described: dict[str, Any] = {"in": parameter.source, "name": parameter.name}
            if parameter.source == "path":
                described |= {"required": True, "schema": _one_segment(schema)}
            elif parameter.is_json:
                described |= {"required": parameter.required, "content": {JSON: {"schema": schema}}}
            else:
                described |= {"required": parameter.required, "schema": schema}
            yield described

    def body(self) -> dict[str, Any] | None:
        """Return the body, or None if there is none."""
        if self._body is None:
            return None
        content = {name: self._form(name) if name in _FORMS else self._plain(name) for name in self._media_types}
        return {"required": self._is_required, "content": content}

    def _plain(self, media_type: str) -> dict[str, Any]:
        if media_type == NPY:
            return {"schema": binary({"type": "string", "contentMediaType": NPY})}
        assert self._body is not None, "there is a body"
        schema = self._components.place(self._body)
        return {"schema": binary(schema) if media_type == OCTETS else schema}

    def _form(self, media_type: str) -> dict[str, Any]:
        """Return a form with its fields. A field for a list is sent again for each item; one for an object is JSON."""
        schema = {
            "type": "object",
            "properties": {field.name: self._form_field(field) for field in self._fields},
            "required": [field.name for field in self._fields if field.required],
            "additionalProperties": False,
        }
        in_json = [field.name for field in self._fields if field.is_json and media_type == URLENCODED]
        encoding = {name: {"contentType": JSON} for name in in_json}
        return {"schema": schema, **({"encoding": encoding} if encoding else {})}

    def _form_field(self, field: InputParameter) -> Schema:
        schema = without_null(self._components.place(field.schema))
        if schema.get("type") == "array" and field.required:
            schema = {"minItems": 1, **schema}  # without an item, nothing of the list is in the form
        is_raw = self._media_types[0] == OCTETS
        return _with_binary_files(schema) if field.is_file or is_raw else schema


def _untitled(schema: Schema | None, function: Any) -> Schema | None:
    """Return the schema of a body without its title, if that is only the name of the function with these parameters."""
    if schema is None or schema.get("title") != getattr(function, "__name__", None):
        return schema
    return {keyword: value for keyword, value in schema.items() if keyword != "title"}


def binary(schema: Schema) -> Schema:
    """Return the schema of bytes as older tools understand it too."""
    return {**schema, "format": "binary"}


def without_null(schema: Schema) -> Schema:
    """Return a schema without null, which text cannot say: what is null by default is left out."""
    options = schema.get("anyOf")
    if options is None or _NULL not in options:
        return schema
    rest = [option for option in options if option != _NULL]
    found = {keyword: value for keyword, value in schema.items() if keyword != "anyOf"}
    if found.get("default", ...) is None:
        del found["default"]
    return {**rest[0], **found} if len(rest) == 1 else {**found, "anyOf": rest}


def _with_binary_files(schema: Schema) -> Schema:
    """Return the schema of a file, or of a list of files."""
    if "contentMediaType" in schema:
        return binary(schema)
    return {**schema, "items": _with_binary_files(schema["items"])} if "items" in schema else schema


def _one_segment(schema: Schema) -> Schema:
    """Return the schema of a path variable: text is not empty, and has no slash."""
    is_free = schema.get("type") == "string" and schema.keys().isdisjoint({"format", "pattern", "enum", "minLength"})
    return {**schema, "minLength": 1, "pattern": "^[^/]+$"} if is_free else schema
