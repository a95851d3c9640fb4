"""The names of the classes in a type, at whatever depth."""

from __future__ import annotations

import enum
from typing import Annotated, Any, NamedTuple, NewType

import msgspec
import pydantic
import pytest

from penstock.codec.class_names import class_names
from penstock.codec.pydantic_types import adapted
from tests.core.codec.sample_types import Box, Options, Point, Relaxed

HERE = __name__


class Light(enum.Enum):
    ON = 1


class Tree(msgspec.Struct):
    children: list[Tree]
    light: Light


class Pair(NamedTuple):
    left: Point
    right: int


class Outer(pydantic.BaseModel):
    inner: Relaxed


Alias = NewType("Alias", Point)


@pytest.mark.parametrize(
    ("annotation", "names"),
    [
        (int, set()),
        (list[int] | None, set()),
        (Any, set()),
        (Tree, {"Tree", "Light"}),
        (list[Box], {"Box", "Point"}),
        (dict[str, Options], {"Options"}),
        (Pair, {"Pair", "Point"}),
        (Outer, {"Outer", "Relaxed"}),
        (Annotated[Alias, msgspec.Meta(description="a point")], {"Point"}),
        (adapted(Annotated[list[Relaxed], pydantic.Field(max_length=3)], owner="here"), {"Relaxed"}),
    ],
    ids=lambda value: " ".join(sorted(value)) if isinstance(value, set) else str(value),
)
def test_all_classes_are_found(annotation: Any, names: set[str]) -> None:
    """In structs, dataclasses, TypedDicts, named tuples and models; not those of Python itself."""
    assert {*class_names([annotation])} == names


def test_a_name_is_qualified_with_its_module() -> None:
    """So that two classes of one name can be distinguished."""
    assert class_names([Tree, Box]) == {
        "Tree": {f"{HERE}.Tree"},
        "Light": {f"{HERE}.Light"},
        "Box": {f"{Box.__module__}.Box"},
        "Point": {f"{Box.__module__}.Point"},
    }


def test_annotations_that_cannot_be_resolved_are_left_out() -> None:
    """The names only tell classes apart, so this is not an error."""

    class Plain:
        field: Nowhere  # type: ignore[name-defined] # noqa: F821 - that is the point

    assert {*class_names([Plain])} == {"Plain"}
