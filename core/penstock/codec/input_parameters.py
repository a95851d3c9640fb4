"""Where each parameter of a handler comes from, for descriptions of an endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from penstock.codec.text_shapes import shape_of

Source: TypeAlias = Literal["path", "query", "body"]


@dataclass(frozen=True, slots=True)
class InputParameter:
    """One parameter of a handler as callers see it."""

    name: str
    source: Source
    """The part of a request that it comes from. The parameters of the body are its fields, or the whole of it."""
    required: bool
    """True if the caller must send it."""
    schema: dict[str, Any]
    """The JSON Schema of its value, with the definitions that it refers to under ``$defs``."""

    @property
    def is_file(self) -> bool:
        """True if it is a file of a form, or a list of files."""
        return "upload" in self._kinds

    @property
    def is_json(self) -> bool:
        """True if it is written as JSON where it is a field of a form or a parameter of a query: an object, say."""
        return "json" in self._kinds

    @property
    def _kinds(self) -> list[str]:
        shape = shape_of(self.schema, self.schema.get("$defs", {}))
        return [shape.kind] if shape.item is None else [shape.kind, shape.item.kind]


def parameters_of(schema: dict[str, Any], sources: Mapping[str, Source]) -> tuple[InputParameter, ...]:
    """Return the parameters of an object with this schema, each with its source."""
    required = schema.get("required", ())
    return tuple(
        InputParameter(name, sources[name], name in required, with_definitions(child, schema.get("$defs", {})))
        for name, child in schema.get("properties", {}).items()
    )


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that is only a reference to one of its definitions as that definition: the type is recursive."""
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return {**schema["$defs"][name], "$defs": schema["$defs"]} if name else schema


def with_definitions(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a schema with those definitions that it refers to, directly or by way of another one."""
    used: dict[str, Any] = {}
    pending = list(_references(schema, definitions))
    while pending:
        name = pending.pop()
        if name not in used:
            used[name] = definitions[name]
            pending += _references(definitions[name], definitions)
    return {**schema, "$defs": used} if used else schema


def _references(schema: Any, names: Iterable[str]) -> list[str]:
    text = msgspec.json.encode(schema)
    return [name for name in names if msgspec.json.encode(f"#/$defs/{name}") in text]
