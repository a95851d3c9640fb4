"""The names of all classes in a type, to tell apart those of one name."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from penstock.codec.pydantic_types import is_adapted


def class_names(annotations: Iterable[Any]) -> dict[str, set[str]]:
    """Return the qualified names (``module.Class``) of the classes in some types, by the name without its module."""
    names: dict[str, set[str]] = {}
    for cls in _classes(annotations, set()):
        names.setdefault(cls.__name__, set()).add(f"{cls.__module__}.{cls.__qualname__}")
    return names


def _classes(annotations: Iterable[Any], seen: set[int]) -> Iterator[type]:
    """Yield the user's classes, at whatever depth. A class may contain itself, hence ``seen``."""
    for annotation in annotations:
        if id(annotation) in seen:
            continue
        seen.add(id(annotation))
        if is_adapted(annotation):
            yield from _classes([annotation.annotation], seen)
            continue
        if isinstance(annotation, type) and annotation.__module__ not in ("builtins", "typing"):
            yield annotation
            yield from _classes(_field_types(annotation), seen)
        yield from _classes(_parts(annotation), seen)


def _parts(annotation: Any) -> Iterator[Any]:
    yield from typing.get_args(annotation)
    # Annotated and generics have an origin, `type` aliases a value, and NewType a supertype.
    for name in ("__origin__", "__value__", "__supertype__"):
        inner = getattr(annotation, name, None)
        if inner is not None:
            yield inner


def _field_types(cls: type) -> list[Any]:
    if issubclass(cls, msgspec.Struct):
        return [field.type for field in msgspec.structs.fields(cls)]
    try:
        return list(typing.get_type_hints(cls, include_extras=True).values())
    except Exception:  # an annotation may be anything; without the names, the content distinguishes the classes
        return []
