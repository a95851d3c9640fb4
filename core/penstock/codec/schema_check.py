"""Values against a JSON Schema, as far as structure goes: types, required and unknown properties, enumerated values.

Limits, lengths, patterns and formats are left out: pydantic's schema shows those of the input to its validators, and
validators may change the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}


class SchemaCheck:
    """The check of decoded values against one schema.

    Parameters
    ----------
    schema:
        The JSON Schema, with its definitions under ``$defs``.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._definitions: dict[str, Any] = schema.get("$defs", {})

    def misfit(self, value: Any) -> str | None:
        """Return why a decoded value does not fit, with its place, or None if it does."""
        misfit = next(self._in(value, self._schema, "$"), None)
        return None if misfit is None else f"{misfit[1]} - at `{misfit[0]}`"

    def _in(self, value: Any, schema: Any, path: str) -> Iterator[tuple[str, str]]:
        """Yield the path and reason of each misfit."""
        if not isinstance(schema, dict):  # true and false are schemas
            if schema is False:
                yield path, "Unexpected value"
            return
        reference = schema.get("$ref")
        if reference is not None:
            yield from self._in(value, self._definitions[reference.removeprefix("#/$defs/")], path)
        for part in schema.get("allOf", ()):
            yield from self._in(value, part, path)
        yield from self._in_alternatives(value, [*schema.get("anyOf", ()), *schema.get("oneOf", ())], path)
        yield from _in_type(value, schema, path)
        if isinstance(value, dict):
            yield from self._in_object(value, schema, path)
        elif isinstance(value, list):
            yield from self._in_array(value, schema, path)

    def _in_alternatives(self, value: Any, schemas: list[Any], path: str) -> Iterator[tuple[str, str]]:
        misfits = [next(self._in(value, schema, path), None) for schema in schemas]
        wrong = [misfit for misfit in misfits if misfit is not None]
        if schemas and len(wrong) == len(schemas):
            yield max(wrong, key=lambda misfit: len(misfit[0]))  # the one that fits best up to there

    def _in_object(self, value: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
        properties: dict[str, Any] = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield path, f"Object missing required field `{name}`"
        others = True if "patternProperties" in schema else schema.get("additionalProperties", True)
        for name, child in value.items():
            if name not in properties and others is False:
                yield path, f"Object contains unknown field `{name}`"
            else:
                yield from self._in(child, properties.get(name, others), f"{path}.{name}")

    def _in_array(self, value: list[Any], schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
        first: list[Any] = schema.get("prefixItems", [])
        if len(value) < min(schema.get("minItems", 0), len(first)):
            yield path, f"Expected `array` of at least length {schema['minItems']}, got {len(value)}"
        for place, child in enumerate(value):
            item = first[place] if place < len(first) else schema.get("items", True)
            yield from self._in(child, item, f"{path}[{place}]")


def _in_type(value: Any, schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    expected = schema.get("type")
    names = [expected] if isinstance(expected, str) else expected or []
    if names and not any(_is(value, name) for name in names):
        yield path, f"Expected `{' | '.join(names)}`, got `{_name_of(value)}`"
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None and not any(_is_equal(value, each) for each in values):
        yield path, f"Invalid enum value {value!r}"


def _is_equal(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) is isinstance(other, bool)  # to Python, True is 1


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, float) and name == "integer":
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, object))


def _name_of(value: Any) -> str:
    return next(name for name in _TYPES if _is(value, name))
