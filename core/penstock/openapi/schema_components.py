"""Schemas on their way into a document: their definitions move to its components, each under a name of its own.

A definition is the same as another one if it has the same name and, with all that it refers to, the same content. If
only the name is the same, the names of the modules tell the two apart; where these are unknown or the same, the side of
the endpoint does, and then a digest of the content. No name depends on the order of the endpoints.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import msgspec

Schema: TypeAlias = dict[str, Any]
Side: TypeAlias = Literal["Input", "Output"]

DEFINITIONS: Final = "#/$defs/"
COMPONENTS: Final = "#/components/schemas/"

_ONE: Final = {"additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"}
_SEVERAL: Final = {"allOf", "anyOf", "oneOf", "prefixItems"}
_NAMED: Final = {"$defs", "dependentSchemas", "patternProperties", "properties"}
# A part of a schema that pydantic validates has definitions of its own: see penstock.codec.json_schema.
_PART: Final = re.compile(r"part-\d+\.")
_UNFIT_IN_NAME: Final = re.compile(r"[^a-zA-Z0-9._-]")


@dataclass
class _Variant:
    """A definition. Its content distinguishes it from others of its name."""

    name: str
    content: str
    schema: Schema
    definitions: Mapping[str, Schema]
    """The definitions of the schema in which it was found."""
    qualified: set[str] = field(default_factory=set)
    sides: set[Side] = field(default_factory=set)

    @property
    def longer_name(self) -> str:
        """Its name with that of the module, if it is known."""
        return min(self.qualified) if self.qualified else self.name

    @property
    def side(self) -> str:
        """The side of the endpoints that has it, with a hyphen; nothing if both have."""
        return f"-{min(self.sides)}" if len(self.sides) == 1 else ""

    @property
    def digest(self) -> str:
        """A few digits of a digest of its content."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:8]


class SchemaComponents:
    """The schemas of one document.

    Add all of them before the first is placed: only then is it known which names belong to several definitions.

    Parameters
    ----------
    reserved:
        The document's own components, by name.
    """

    def __init__(self, reserved: Mapping[str, Schema]) -> None:
        self._reserved = reserved
        self._variants: dict[str, dict[str, _Variant]] = {}
        self._names: dict[tuple[str, str], str] | None = None
        self._contents: dict[tuple[int, str], str] = {}

    def add(self, schema: Schema, side: Side, classes: Mapping[str, Iterable[str]]) -> None:
        """Add a schema with its definitions, in ``$defs``. ``classes`` has the qualified names of its classes."""
        definitions = schema.get("$defs", {})
        for key in definitions:
            name, content = _name_of(key), self._content(key, definitions)
            variant = self._variants.setdefault(name, {}).setdefault(
                content, _Variant(name, content, definitions[key], definitions)
            )
            variant.sides.add(side)
            variant.qualified |= set(classes.get(name, ()))

    def place(self, schema: Schema) -> Schema:
        """Return a schema that was added as it is in the document: with references to the components."""
        return self._placed(schema, schema.get("$defs", {}))

    def schemas(self) -> dict[str, Schema]:
        """Return the components, in the order of their names."""
        placed = {
            self._name(name, content): self._placed(variant.schema, variant.definitions)
            for name, variants in self._variants.items()
            for content, variant in variants.items()
        }
        return dict(sorted({**self._reserved, **placed}.items()))

    def _placed(self, schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
        def target(key: str) -> str:
            return COMPONENTS + self._name(_name_of(key), self._content(key, definitions))

        placed = with_references(schema, target)
        placed.pop("$defs", None)
        return placed

    def _content(self, key: str, definitions: Mapping[str, Schema]) -> str:
        place = id(definitions), key  # the caller keeps the schemas until the document is complete
        if place not in self._contents:
            self._contents[place] = _content_of(key, definitions)
        return self._contents[place]

    def _name(self, name: str, content: str) -> str:
        if self._names is None:
            self._names = dict(self._chosen_names())
        return self._names[name, content]

    def _chosen_names(self) -> Iterator[tuple[tuple[str, str], str]]:
        taken = set(self._reserved)
        for name, by_content in sorted(self._variants.items()):
            variants = [by_content[content] for content in sorted(by_content)]
            chosen = next(names for names in _candidates(variants) if _are_free(names, taken))
            taken.update(chosen)
            for variant, text in zip(variants, chosen, strict=True):
                yield (name, variant.content), text


def _candidates(variants: list[_Variant]) -> Iterator[list[str]]:
    """Yield ways to name the definitions of one name, the best first; the last one always works."""
    yield [variant.name for variant in variants]
    yield [cleaned(variant.longer_name) for variant in variants]
    yield [variant.name + variant.side for variant in variants]
    yield [cleaned(variant.longer_name) + variant.side for variant in variants]
    yield [f"{variant.name}-{variant.digest}" for variant in variants]


def _are_free(names: list[str], taken: set[str]) -> bool:
    return len(set(names)) == len(names) and not taken.intersection(names)


def _name_of(key: str) -> str:
    return cleaned(_PART.sub("", key, count=1)) or "Schema"


def cleaned(name: str) -> str:
    """Return a name in the characters that the name of a component may have."""
    return _UNFIT_IN_NAME.sub("_", name)


def _content_of(key: str, definitions: Mapping[str, Schema]) -> str:
    """Return a definition and all that it refers to, as text: the same for definitions that mean the same."""
    found: dict[str, Schema] = {}
    waiting = [key]
    while waiting:
        name = waiting.pop()
        if name in found or name not in definitions:
            continue
        references: list[str] = []

        def noted(reference: str, references: list[str] = references) -> str:
            references.append(reference)
            return DEFINITIONS + _name_of(reference)

        found[name] = with_references(definitions[name], noted)
        waiting += references
    parts = sorted(_text((_name_of(name), schema)) for name, schema in found.items() if name != key)
    return _text([found.get(key), parts])


def _text(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str, order="sorted").decode()


def with_references(schema: Schema, target: Callable[[str], str]) -> Schema:
    """Return a schema whose references to its own definitions are replaced by ``target`` of the definition's name.

    A default that is a set is sorted: its order differs from process to process. One that is NaN or infinite is left
    out, as JSON does not have it.
    """

    def moved(value: Any) -> Any:
        return visit(value) if isinstance(value, dict) else value  # true and false are schemas

    def reference(value: Any) -> Any:
        is_own = isinstance(value, str) and value.startswith(DEFINITIONS)
        return target(value.removeprefix(DEFINITIONS)) if is_own else value

    def visit(schema: Schema) -> Schema:
        found: Schema = {}
        for keyword, value in schema.items():
            if keyword == "$ref":
                found[keyword] = reference(value)
            elif keyword == "discriminator" and "mapping" in value:
                found[keyword] = {**value, "mapping": {k: reference(v) for k, v in value["mapping"].items()}}
            elif keyword in _NAMED:
                found[keyword] = {name: moved(inner) for name, inner in value.items()}
            elif keyword in _SEVERAL:
                found[keyword] = [moved(inner) for inner in value]
            else:
                found[keyword] = moved(value) if keyword in _ONE else value
        if found.get("items") is False and found.get("maxItems") == len(found.get("prefixItems", ())):
            del found["items"]  # it says nothing that the number of items does not, and some tools expect an object
        default = found.get("default")
        if isinstance(default, list) and found.get("uniqueItems"):
            found["default"] = sorted(default, key=_text)
        elif isinstance(default, float) and not math.isfinite(default):
            del found["default"]
        return found

    return visit(schema)
