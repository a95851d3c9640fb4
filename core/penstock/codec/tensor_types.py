"""Tensors in the annotations of a handler, and what msgspec reads in their place.

msgspec ignores metadata that is not its own: it would see a plain ``numpy.ndarray``. So each ``Tensor`` has a stand-in
class; and a class with tensors as fields has a twin with stand-ins, of which the user's own class is then made.
"""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, ClassVar

import msgspec

from penstock.codec.pydantic_types import fields_of
from penstock.codec.signature import NO_DEFAULT
from penstock.codec.tensors import Tensor
from penstock.errors import DeclarationError


class _AnyArray(type):
    """The type of a stand-in: its tensor has checked the array, and msgspec is to take it as it is."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class StandInTensor(metaclass=_AnyArray):
    """A stand-in, as msgspec sees it, for an array with a ``Tensor``. Each has a subclass of its own."""

    tensor: ClassVar[Tensor]


def is_tensor(annotation: Any) -> bool:
    """Return whether this is the stand-in of a tensor."""
    return isinstance(annotation, _AnyArray)


def tensor_of(annotation: Any) -> Tensor | None:
    """Return the tensor that an annotation or a stand-in is, with or without ``| None``; None if it is none."""
    if is_tensor(annotation):
        found: Tensor = annotation.tensor
        return found
    if typing.get_origin(annotation) is Annotated:
        return next((item for item in annotation.__metadata__ if isinstance(item, Tensor)), None)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not types.NoneType]
        return tensor_of(members[0]) if len(members) == 1 else None
    return None


def readable(annotation: Any, *, owner: str) -> Any:
    """Return what msgspec is to read in the place of an annotation: a stand-in, a twin, or the annotation itself.

    Raises
    ------
    DeclarationError
        If it is a class with tensors that cannot have a twin.
    """
    tensor = tensor_of(annotation)
    if tensor is not None:
        stand_in = type("Tensor", (StandInTensor,), {"tensor": tensor})
        return stand_in if typing.get_origin(annotation) is Annotated else stand_in | None
    if typing.get_origin(annotation) is list:
        (item,) = typing.get_args(annotation)
        return list[readable(item, owner=owner)]  # type: ignore[misc] # a type that is computed
    return _twin_of(annotation, owner) if tensor_fields(annotation) else annotation


def tensor_fields(annotation: Any) -> dict[str, Tensor]:
    """Return the tensors among the fields of a class, by name; empty if it has none."""
    if not isinstance(annotation, type) or isinstance(annotation, types.GenericAlias):
        return {}
    found = {name: tensor_of(inner) for name, inner, _ in fields_of(annotation)}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


class _Twin(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The base of twins."""

    record: ClassVar[Any]


def _twin_of(record: type, owner: str) -> type[_Twin]:
    if getattr(record, "__struct_encode_fields__", ()) != getattr(record, "__struct_fields__", ()):
        raise DeclarationError(f"{owner}: {record.__name__} has tensors and renames its fields; leave out `rename`")
    fields = [
        (name, readable(inner, owner=owner), *(() if default is NO_DEFAULT else (default,)))
        for name, inner, default in fields_of(record)
    ]
    twin: Any = msgspec.defstruct(record.__name__, fields, bases=(_Twin,), kw_only=True, forbid_unknown_fields=True)
    twin.record = record
    found: type[_Twin] = twin
    return found


def is_twin(annotation: Any) -> bool:
    """Return whether this is the twin of a class."""
    return isinstance(annotation, type) and issubclass(annotation, _Twin)


def original(twin: Any) -> Any:
    """Return the instance of the user's own class for an instance of its twin."""
    return type(twin).record(**{name: getattr(twin, name) for name in twin.__struct_fields__})
