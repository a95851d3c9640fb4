"""A JSON Schema as a flat list of facts: the same for the same types in every process, and one for each change.

Titles and descriptions, the order of alternatives and the names of definitions are left out. Such a name may contain
the name of the module, and that is ``__main__`` in only one of two processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

_FOR_PEOPLE: Final = {"$defs", "title", "description", "examples", "deprecated", "$comment"}
_ONE_SCHEMA: Final = {"items": "[]", "additionalProperties": ".*", "propertyNames": ".*'s name"}
_ALTERNATIVES: Final = {"anyOf", "oneOf", "allOf"}
_NAMED: Final = {"properties", "patternProperties"}


def schema_facts(schema: dict[str, Any], name: str) -> Iterator[tuple[str, str]]:
    """Yield the facts of a schema, such as ``("input.x type", '"number"')``, which all begin with ``name``."""
    return _Walk(schema, name).visit(schema, name)


class _Walk:
    def __init__(self, schema: dict[str, Any], name: str) -> None:
        self._definitions: dict[str, Any] = schema.get("$defs", {})
        self._places: dict[str, str] = {"#": name}  # where each definition was visited: one may contain itself

    def visit(self, schema: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
        for keyword in sorted(schema.keys() - _FOR_PEOPLE):
            value = schema[keyword]
            if keyword == "$ref":
                yield from self._follow(value, place)
            elif keyword in _NAMED:
                for name in sorted(value):
                    yield from self._inner(value[name], f"{place}.{name}")
            elif keyword in _ONE_SCHEMA and isinstance(value, dict):
                yield from self._inner(value, place + _ONE_SCHEMA[keyword])
            elif keyword in _ALTERNATIVES:
                for number, option in enumerate(sorted(value, key=stable_text), 1):
                    yield from self._inner(option, f"{place} option {number}")
            elif keyword == "prefixItems":
                for number, item in enumerate(value):
                    yield from self._inner(item, f"{place}[{number}]")
            else:
                yield f"{place} {keyword}", stable_text(value)

    def _inner(self, schema: Any, place: str) -> Iterator[tuple[str, str]]:
        if isinstance(schema, dict):
            yield place, "present"  # a schema that allows anything has no other fact
            yield from self.visit(schema, place)
        else:
            yield place, stable_text(schema)

    def _follow(self, reference: str, place: str) -> Iterator[tuple[str, str]]:
        name = reference.removeprefix("#/$defs/")
        definition = self._definitions.get(name)
        if name in self._places or definition is None:
            yield f"{place} is", self._places.get(name, _last_part(reference))
            return
        self._places[name] = place
        yield from self.visit(definition, place)


def stable_text(value: Any) -> str:
    """Return a value as JSON that does not depend on the order of a set, or of the list that was made from one."""
    return msgspec.json.encode(_in_order(value), enc_hook=_kind_of, order="sorted").decode()


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {_encodable(str(key)): _in_order(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted((_in_order(inner) for inner in value), key=stable_text)
    if isinstance(value, str):
        return _encodable(_last_part(value) if value.startswith("#/$defs/") else value)
    return value


def _encodable(text: str) -> str:
    """Replace lone surrogates, which the name of a file may contain, and UTF-8 may not."""
    return text.encode("utf-8", "backslashreplace").decode()


def _last_part(reference: str) -> str:
    return reference.rpartition("/")[2].rpartition(".")[2]


def _kind_of(value: Any) -> str:
    return type(value).__qualname__
