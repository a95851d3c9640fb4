"""Leniency: values that JSON Schema or the usual clients consider right, and msgspec does not.

``1.0`` is an integer to JSON Schema, and to JavaScript there is no other. Base64 comes with a ``data:`` prefix from
browsers, with URL-safe letters from web APIs, and with line breaks from mail tools. Such a body is rewritten after it
has failed, so that all others cost nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect as types

_SIGNS = re.compile(r"Expected `int.*`, got `float`|Invalid base64")
_TO_STANDARD = str.maketrans("-_", "+/")
_read_anything: Callable[[bytes], Any] = msgspec.json.Decoder().decode


def lenient(read: Callable[[bytes], Any], info: types.Type) -> Callable[[bytes], Any]:
    """Return a reader that tries a body again, rewritten, if ``read`` fails for a reason of the above kinds."""

    def read_leniently(body: bytes) -> Any:
        try:
            return read(body)
        except msgspec.ValidationError as error:
            if not _SIGNS.match(str(error)):
                raise
            try:
                value = _read_anything(body)
            except Exception:
                raise error from error.__cause__
        return read(msgspec.json.encode(_rewritten(value, info)))

    return read_leniently if _is_concerned(info, set()) else read


def _is_concerned(info: Any, seen: set[int]) -> bool:
    if isinstance(info, types.IntType | types.BytesType):
        return True
    if isinstance(info, tuple):
        return any(_is_concerned(item, seen) for item in info)
    if not isinstance(info, types.Type | types.Field) or id(info) in seen:
        return False
    seen.add(id(info))
    return any(_is_concerned(getattr(info, name), seen) for name in info.__struct_fields__)


def _rewritten(value: Any, info: Any) -> Any:
    """Return the value with each integral float and each base64 text in standard form, where the type has one."""
    if isinstance(info, types.Metadata):
        return _rewritten(value, info.type)
    if isinstance(info, types.UnionType):
        return _rewritten_in_union(value, info.types)
    if isinstance(value, float):
        return int(value) if isinstance(info, types.IntType) and value.is_integer() else value
    if isinstance(value, str):
        is_bytes = isinstance(info, types.BytesType | types.ByteArrayType | types.MemoryViewType)
        return _standard_base64(value) if is_bytes else value
    if isinstance(value, list):
        return _rewritten_list(value, info)
    return _rewritten_dict(value, info) if isinstance(value, dict) else value


def _rewritten_list(value: list[Any], info: Any) -> list[Any]:
    if isinstance(info, types.TupleType):
        return [_rewritten(item, kind) for item, kind in zip(value, info.item_types, strict=False)]
    if hasattr(info, "item_type"):
        return [_rewritten(item, info.item_type) for item in value]
    return value


def _rewritten_dict(value: dict[str, Any], info: Any) -> dict[str, Any]:
    if isinstance(info, types.DictType):
        return {key: _rewritten(item, info.value_type) for key, item in value.items()}
    kinds = {field.encode_name: field.type for field in getattr(info, "fields", ())}
    return {key: _rewritten(item, kinds[key]) if key in kinds else item for key, item in value.items()}


def _rewritten_in_union(value: Any, members: tuple[Any, ...]) -> Any:
    """Rewrite for the member that the value is meant for, if there is one."""
    if isinstance(value, float) and any(isinstance(member, types.FloatType) for member in members):
        return value
    if isinstance(value, str) and any(isinstance(member, types.StrType) for member in members):
        return value
    for member in members:
        tag_field = getattr(member, "tag_field", None)
        if tag_field is not None and (not isinstance(value, dict) or value.get(tag_field) != member.tag):
            continue
        value = _rewritten(value, member)
    return value


def _standard_base64(text: str) -> str:
    head, _, tail = text.partition(",")
    if head.startswith("data:") and head.endswith(";base64"):
        text = tail
    text = "".join(text.split()).translate(_TO_STANDARD)
    return text + "=" * (-len(text) % 4)
