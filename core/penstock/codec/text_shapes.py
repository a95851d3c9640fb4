"""The shape of a value that arrives as text: in a path, a query or a form.

A type alone does not say how the text of a field is meant. Its JSON Schema does, in the same way for types of msgspec
and of pydantic: an array is a field that may be repeated, an object is JSON, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from penstock.codec.uploads import UPLOAD_SCHEMA

Kind: TypeAlias = Literal["text", "scalar", "flag", "json", "any", "mixed", "bytes", "upload", "list"]


class TextShape(NamedTuple):
    """The way in which the text of one field becomes a value.

    ``text`` is taken as it is, a ``scalar`` is a number, a truth value or null, and a ``flag`` is a truth value alone.
    ``any`` is JSON if it can be read as JSON, and otherwise text; ``mixed`` is text unless it is an object or a list of
    JSON.
    """

    kind: Kind
    item: TextShape | None = None
    """The shape of each item of a ``list``."""


_TEXT: Final = TextShape("text")


def shapes_of(schema: dict[str, Any]) -> dict[str, TextShape]:
    """Return the shape of each field of an object with this schema, its definitions under ``$defs``."""
    definitions = schema.get("$defs", {})
    root = next(_alternatives(schema, definitions), {})
    return {name: shape_of(child, definitions) for name, child in root.get("properties", {}).items()}


def shape_of(schema: Any, definitions: dict[str, Any], *, is_item: bool = False) -> TextShape:
    """Return the shape of a value with this schema.

    An item of a list that is a list itself is JSON: such a type may contain itself, and a field is repeated once only.
    """
    kinds: set[Kind] = set()
    for part in _alternatives(schema, definitions):
        if part.get("type") == "array":
            return TextShape("json") if is_item else TextShape("list", _item_shape(part, definitions))
        if part.get("type") != "null":
            kinds.add(_kind_of(part))
    if len(kinds) < 2:
        return TextShape(kinds.pop() if kinds else "scalar")
    if kinds <= {"scalar", "flag"}:
        return TextShape("scalar")
    if not kinds & {"json", "any"}:
        return _TEXT
    return TextShape("mixed" if "text" in kinds else "any")


def _item_shape(array: dict[str, Any], definitions: dict[str, Any]) -> TextShape:
    if "prefixItems" in array:  # a tuple of different types
        shapes = [shape_of(item, definitions, is_item=True) for item in array["prefixItems"]]
        return shapes[0] if len({*shapes}) == 1 else _TEXT
    return shape_of(array.get("items", True), definitions, is_item=True)


def _alternatives(schema: Any, definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schemas of which a value fits one, without references."""
    if not isinstance(schema, dict):
        yield {}
        return
    reference = schema.get("$ref")
    if reference is not None:
        yield from _alternatives(definitions[reference.removeprefix("#/$defs/")], definitions)
        return
    parts = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    if not parts:
        yield schema
    for part in parts:
        yield from _alternatives(part, definitions)


def _kind_of(schema: dict[str, Any]) -> Kind:
    if all(schema.get(key) == value for key, value in UPLOAD_SCHEMA.items()) and "contentEncoding" not in schema:
        return "upload"
    if "contentEncoding" in schema or schema.get("format") in ("binary", "base64", "base64url"):
        return "bytes"
    types = schema.get("type")
    if types is None:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if values is None:
            return "json" if "properties" in schema else "any"
        return "text" if any(isinstance(value, str) for value in values) else "scalar"
    return _kind_of_types({types} if isinstance(types, str) else {*types})


def _kind_of_types(names: set[str]) -> Kind:
    if not names.isdisjoint({"object", "array"}):
        return "json"
    if "string" in names:
        return "text"
    return "flag" if names - {"null"} == {"boolean"} else "scalar"
