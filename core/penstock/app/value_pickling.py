"""cloudpickle, taught what it does not know about the classes that bodies are read into."""

from __future__ import annotations

import dataclasses
import importlib
import io
from collections.abc import Callable
from types import FunctionType
from typing import Any

import msgspec

_CONFIG = (
    "tag",
    "tag_field",
    "omit_defaults",
    "forbid_unknown_fields",
    "frozen",
    "eq",
    "order",
    "repr_omit_defaults",
    "array_like",
    "gc",
    "weakref",
    "dict",
    "cache_hash",
)
# The fields of a dataclass hold these, which are compared by identity, and which pickle would copy.
_SENTINELS = {
    id(getattr(dataclasses, name)): name
    for name in ("MISSING", "KW_ONLY", "_FIELD", "_FIELD_CLASSVAR", "_FIELD_INITVAR", "_HAS_DEFAULT_FACTORY")
}
_MSGSPEC_CACHE = "__msgspec_cache__"  # msgspec leaves it on a dataclass, and makes it again where it is missing


def value_dumps() -> Callable[[Any], bytes]:
    """Return a function that pickles by value what no module has.

    Raises
    ------
    ImportError
        If cloudpickle is not installed.
    """
    pickler: Any = importlib.import_module("cloudpickle").CloudPickler

    def reducer_override(self: Any, value: Any) -> Any:
        if id(value) in _SENTINELS:
            return _SENTINELS[id(value)]
        reduced = pickler.reducer_override(self, value)
        if not isinstance(value, type) or not isinstance(reduced, tuple):  # not a class, or one that can be imported
            return reduced
        if issubclass(value, msgspec.Struct):
            return _reduced_struct(value)
        if len(reduced) > 2 and isinstance(reduced[2], tuple):
            reduced[2][0].pop(_MSGSPEC_CACHE, None)
        return reduced

    # Created here, since its base is only there where cloudpickle is.
    extended = type("ValuePickler", (pickler,), {"reducer_override": reducer_override})

    def dumps(value: Any) -> bytes:
        with io.BytesIO() as buffer:
            extended(buffer).dump(value)
            return buffer.getvalue()

    return dumps


def _reduced_struct(cls: type[msgspec.Struct]) -> tuple[Any, ...]:
    """Reduce a Struct: its metaclass makes slots of its fields when it is created, and not later, as cloudpickle would.

    Methods are set afterwards, since they may refer to the class itself.
    """
    own = vars(cls).get("__annotations__", {})
    fields = [_definition(field) for field in msgspec.structs.fields(cls) if field.name in own]
    config = {name: getattr(cls.__struct_config__, name) for name in _CONFIG}
    config["rename"] = {field.name: field.encode_name for field in msgspec.structs.fields(cls)}
    config["kw_only"] = len(cls.__match_args__) < len(cls.__struct_fields__)
    kinds = (FunctionType, property, staticmethod, classmethod)
    methods = {name: value for name, value in vars(cls).items() if isinstance(value, kinds)}
    namespace = {"__post_init__": methods.pop("__post_init__")} if "__post_init__" in methods else {}
    made = {"bases": cls.__bases__, "module": cls.__module__, "namespace": namespace, **config}
    return _create_struct, (cls.__name__, fields, made), methods, None, None, _set


def _definition(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.name, field.type, (True, field.default_factory)
    if field.default is not msgspec.NODEFAULT:
        return field.name, field.type, (False, field.default)
    return field.name, field.type, None


def _create_struct(name: str, fields: list[Any], options: dict[str, Any]) -> type[msgspec.Struct]:
    definitions: list[Any] = []
    for field, kind, default in fields:
        if default is None:
            definitions.append((field, kind))
        else:
            is_factory, value = default
            made = msgspec.field(default_factory=value) if is_factory else msgspec.field(default=value)
            definitions.append((field, kind, made))
    return msgspec.defstruct(name, definitions, **options)


def _set(cls: type, methods: dict[str, Any]) -> None:
    for name, value in methods.items():
        setattr(cls, name, value)
