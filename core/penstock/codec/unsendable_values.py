"""Naming the part of a value that cannot be sent: its type, its place, and the code to write instead.

All of this runs only after a failure, so it may be slow.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.codec.decoding import class_name
from penstock.codec.plain_forms import simplified, to_json
from penstock.codec.pydantic_output import undumpable_fields
from penstock.codec.pydantic_types import is_pydantic
from penstock.codec.result_fixes import fix_for, is_known

# The depth to which a value is searched for the part that cannot be encoded; beyond it, the container is named.
_MAX_SEARCH_DEPTH = 50


def unsendable(value: Any, error: Exception, what: str) -> str:
    """Return the message for a value that ``to_json`` has refused with this error."""
    if isinstance(error, RecursionError):
        return f"{what} cannot be sent as JSON: it is nested too deeply, or contains itself"
    path, culprit, error = _find_culprit(value, error, "$", _MAX_SEARCH_DEPTH)
    reason = "" if type(error) is TypeError else f" ({type(error).__name__}: {error})"
    fix = fix_for(culprit, is_whole=path == "$" and what != "the chunk")
    return f"{what} cannot be sent as JSON: {describe(culprit)} at {path}{reason}" + (f"; {fix}" if fix else "")


def describe(value: Any) -> str:
    """Return the type of a value, with the detail that matters for JSON."""
    name = class_name(type(value))
    if name == "numpy.ndarray":
        return f"{name} of dtype {value.dtype}"
    if isinstance(value, dict):
        keys = sorted({class_name(type(key)) for key in value if not _is_key(key)})
        return f"{name} with keys of type {', '.join(keys)}" if keys else name
    return name


def _is_key(key: Any) -> bool:
    try:
        to_json({key: None})
    except Exception:
        return False
    return True


def _find_culprit(value: Any, error: Exception, path: str, depth: int) -> tuple[str, Any, Exception]:
    if depth and not is_known(value):
        for step, child, child_error in _children(value):
            try:
                to_json(child)
            except Exception as own_error:
                return _find_culprit(child, own_error, path + step, depth - 1)
            if child_error is not None:
                return path + step, child, child_error
    return path, value, error


def _children(value: Any) -> Iterator[tuple[str, Any, Exception | None]]:
    """Yield the path and value of each part, with the error of those that their container cannot write."""
    if is_pydantic(type(value)):
        yield from undumpable_fields(value, fallback=simplified)
    elif isinstance(value, collections.abc.Mapping):
        yield from ((f".{key}", value[key], None) for key in value)
    elif isinstance(value, _LISTS):
        yield from ((f"[{place}]", child, None) for place, child in enumerate(value))
    else:
        yield from ((f".{name}", getattr(value, name, None), None) for name in _field_names(value))


_LISTS = (list, tuple, collections.abc.Set, collections.abc.ValuesView, collections.deque, collections.UserList)


def _field_names(value: Any) -> Iterator[str]:
    if isinstance(value, msgspec.Struct):
        yield from value.__struct_fields__
    elif dataclasses.is_dataclass(value):
        yield from (field.name for field in dataclasses.fields(value))
    else:
        yield from (field.name for field in getattr(type(value), "__attrs_attrs__", ()))
