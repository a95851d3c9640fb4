"""The types of settings: parsing a value from text, displaying one, and hiding secrets."""

from __future__ import annotations

import re
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import inspect

SECRET_SHOWN: Final = "(set)"  # noqa: S105 - a placeholder, not a secret
LISTS: Final = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType, inspect.TupleType)
TABLES: Final = (inspect.DictType, inspect.StructType, inspect.TypedDictType, inspect.DataclassType)


def parsed(text: str, kind: Any) -> Any:
    """Parse the text of a setting of type ``kind``: lists are separated by commas or written in JSON, tables in JSON.

    ``null`` is None for every type that allows None, text included.

    Raises
    ------
    msgspec.DecodeError
        If the type allows JSON and the text looks like JSON, but is invalid.
    """
    parts = _alternatives(kind)
    if text.lower() == "null" and any(isinstance(part, inspect.NoneType) for part in parts):
        return None
    takes_list = any(isinstance(part, LISTS) for part in parts)
    takes_table = any(isinstance(part, TABLES) for part in parts)
    if (takes_list and text.lstrip().startswith("[")) or (takes_table and text.lstrip().startswith("{")):
        return msgspec.json.decode(text)
    if takes_list:
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


@lru_cache(maxsize=1024)
def holds_secret(kind: Any) -> bool:
    """Return whether the type contains a secret at any depth; such a setting is never displayed, not even in part."""
    return _holds_secret(inspect.type_info(kind), set())


def shown(value: Any, kind: Any) -> Any:
    """Return the value of a setting of type ``kind`` for display, ready for JSON and without secrets."""
    if holds_secret(kind):
        return SECRET_SHOWN if value else None
    return msgspec.to_builtins(value, enc_hook=str)


def accepted_words(kind: Any) -> str:
    """Return the advice for a value that is not among the few that a type has: ``"; write true or false"``."""
    words: list[str] = []
    for part in _alternatives(kind):
        if isinstance(part, inspect.BoolType):
            words += ["true", "false"]
        elif isinstance(part, inspect.LiteralType):
            words += map(str, part.values)
        elif isinstance(part, inspect.EnumType):
            words += [str(member.value) for member in part.cls]
        elif not isinstance(part, inspect.NoneType):
            return ""
    return f"; write {' or '.join(words)}" if words else ""


def annotation_text(kind: Any) -> str:
    """Return a type as its author may have written it, without module names: ``float | None``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return "secret" if _is_secret(inspect.type_info(kind)) else annotation_text(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(annotation_text(part) for part in arguments)
    if origin is Literal:
        return " | ".join(map(repr, arguments))
    if arguments:
        return f"{origin.__name__}[{', '.join(annotation_text(part) for part in arguments)}]"
    special: dict[Any, str] = {None: "None", NoneType: "None", Ellipsis: "..."}
    return special.get(kind) or re.sub(r"\w+\.", "", kind.__name__ if isinstance(kind, type) else str(kind))


def _alternatives(kind: Any) -> list[inspect.Type]:
    info = _bare(inspect.type_info(kind))
    return [_bare(part) for part in info.types] if isinstance(info, inspect.UnionType) else [info]


def _bare(info: inspect.Type) -> inspect.Type:
    return info.type if isinstance(info, inspect.Metadata) else info


def _is_secret(info: Any) -> bool:
    return isinstance(info, inspect.Metadata) and bool((info.extra or {}).get("secret"))


def _holds_secret(info: Any, seen: set[Any]) -> bool:
    if _is_secret(info):
        return True
    if isinstance(info, (inspect.StructType, inspect.TypedDictType, inspect.DataclassType)):
        if info.cls in seen:
            return False
        seen.add(info.cls)
        return any(_holds_secret(field.type, seen) for field in info.fields)
    names = ("type", "types", "item_type", "item_types", "key_type", "value_type")
    inner = [getattr(info, name, ()) for name in names]
    return any(
        _holds_secret(part, seen) for parts in inner for part in (parts if isinstance(parts, tuple) else (parts,))
    )
