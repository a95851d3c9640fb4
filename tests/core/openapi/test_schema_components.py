"""The names of definitions in the document: short where they can be, distinct where they must be, and stable."""

from __future__ import annotations

import itertools
import re
from typing import Any

from penstock.openapi.schema_components import SchemaComponents, Side

INT, TEXT = {"type": "integer"}, {"type": "string"}


def placed(*schemas: tuple[Any, Side, dict[str, set[str]]], reserved: Any = None) -> tuple[list[Any], dict[str, Any]]:
    """Return the schemas as they are in the document, and its components."""
    components = SchemaComponents(reserved or {})
    for schema, side, classes in schemas:
        components.add(schema, side, classes)
    return [components.place(schema) for schema, _, _ in schemas], components.schemas()


def using(name: str, definition: Any, **others: Any) -> Any:
    return {"$ref": f"#/$defs/{name}", "$defs": {name: definition, **others}}


def names(found: list[Any]) -> list[str]:
    return [schema["$ref"].removeprefix("#/components/schemas/") for schema in found]


def test_equal_definitions_are_one_component() -> None:
    """Two endpoints that use one class refer to the same component."""
    found, components = placed((using("Item", INT), "Input", {}), (using("Item", INT), "Output", {}))
    assert names(found) == ["Item", "Item"]
    assert components == {"Item": INT}


def test_two_classes_of_one_name_are_told_apart_by_their_modules() -> None:
    """Whatever the order in which the endpoints are declared."""
    mine = using("Item", INT), "Input", {"Item": {"shop.Item"}}
    theirs = using("Item", TEXT), "Input", {"Item": {"blog.Item"}}
    for order in itertools.permutations([mine, theirs]):
        found, components = placed(*order)
        assert components == {"blog.Item": TEXT, "shop.Item": INT}
        assert names(found) == [next(iter(classes["Item"])) for _, _, classes in order]


def test_one_class_that_is_read_and_written_differently_is_named_for_the_side() -> None:
    """As with pydantic, whose schemas of the two may differ."""
    classes = {"Item": {"shop.Item"}}
    found, _ = placed((using("Item", INT), "Input", classes), (using("Item", TEXT), "Output", classes))
    assert names(found) == ["Item-Input", "Item-Output"]


def test_a_difference_deep_inside_counts() -> None:
    """Two definitions with the same text differ if what they refer to does."""
    outer = {"properties": {"inner": {"$ref": "#/$defs/Inner"}}}
    one, other = using("Outer", outer, Inner=INT), using("Outer", outer, Inner=TEXT)
    found, components = placed((one, "Input", {}), (other, "Output", {}))
    assert names(found) == ["Outer-Input", "Outer-Output"]
    assert components["Outer-Input"]["properties"]["inner"] == {"$ref": "#/components/schemas/Inner-Input"}


def test_definitions_that_nothing_else_tells_apart_have_a_digest() -> None:
    """A digest of the content, and not a number, which would depend on the order."""
    found, _ = placed((using("Item", INT), "Input", {}), (using("Item", TEXT), "Input", {}))
    assert all(re.fullmatch("Item-[0-9a-f]{8}", name) for name in names(found))
    assert len(set(names(found))) == 2


def test_a_class_may_have_the_name_of_a_component_of_the_document() -> None:
    """The document's own component keeps the name."""
    schema = using("Problem", INT), "Output", {"Problem": {"app.Problem"}}
    found, components = placed(schema, reserved={"Problem": TEXT})
    assert names(found) == ["app.Problem"]
    assert components["Problem"] == TEXT


def test_names_have_only_characters_that_are_allowed() -> None:
    """A generic class has brackets in its name, and one that is local to a function has angle brackets."""
    found, _ = placed((using("part-0.Box[int]<locals>", INT), "Input", {}))
    assert names(found) == ["Box_int__locals_"]


def test_defaults_are_the_same_in_every_process() -> None:
    """A set is sorted; a number that JSON does not have is left out, and any other default is kept."""
    item = {
        "properties": {
            "names": {"type": "array", "uniqueItems": True, "default": ["b", "a"]},
            "list": {"type": "array", "default": ["b", "a"]},
            "most": {"type": "number", "default": float("inf")},
            "least": {"type": "number", "default": 0.5},
        }
    }
    _, components = placed((using("Item", item), "Input", {}))
    defaults = {name: schema.get("default") for name, schema in components["Item"]["properties"].items()}
    assert defaults == {"names": ["a", "b"], "list": ["b", "a"], "most": None, "least": 0.5}


def test_a_tuple_has_no_schema_that_is_false() -> None:
    """Some tools cannot read it, and the largest number of items says the same."""
    pair = {"type": "array", "prefixItems": [INT, INT], "minItems": 2, "maxItems": 2, "items": False}
    _, components = placed((using("Pair", pair), "Input", {}))
    assert components["Pair"] == {key: value for key, value in pair.items() if key != "items"}
    none = {"type": "array", "maxItems": 3, "items": False}
    _, components = placed((using("None", none), "Input", {}))
    assert components["None"] == none


def test_references_are_found_wherever_a_schema_may_be() -> None:
    """A class that refers to itself in every place where a schema may be, and data that only look like one."""
    reference = {"$ref": "#/$defs/Item"}
    item = {
        "anyOf": [reference, INT],
        "items": reference,
        "prefixItems": [reference],
        "additionalProperties": reference,
        "properties": {"items": reference, "default": reference},
        "discriminator": {"propertyName": "kind", "mapping": {"item": "#/$defs/Item"}},
        "default": {"$ref": "#/$defs/Item"},
    }
    _, components = placed((using("Item", item), "Input", {}))
    moved = {"$ref": "#/components/schemas/Item"}
    assert components["Item"] == {
        "anyOf": [moved, INT],
        "items": moved,
        "prefixItems": [moved],
        "additionalProperties": moved,
        "properties": {"items": moved, "default": moved},
        "discriminator": {"propertyName": "kind", "mapping": {"item": "#/components/schemas/Item"}},
        "default": {"$ref": "#/$defs/Item"},
    }
