"""Errors on their way to another process, with their class and every field that the class declares.

There is nothing here for any one class: a field is an annotated attribute, so a new class or field needs no change.
"""

from __future__ import annotations

import functools
import typing
from itertools import starmap
from typing import Any, ClassVar

import msgspec

from penstock import errors
from penstock.errors import Cancelled, HandlerError, PenstockError
from penstock.response import header_mistake

# An exception may quote a whole input, which must not end up in log lines and frames.
MAX_DETAIL_CHARACTERS = 8_192
# Facts about a class that a subclass of the user's own may set; others have them from their class.
_FACTS: dict[str, Any] = {
    "status": typing.Annotated[int, msgspec.Meta(ge=400, le=599)],
    "code": typing.Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,64}$")],
    "title": typing.Annotated[str, msgspec.Meta(max_length=200)],
}


def is_answer(error: BaseException) -> bool:
    """Return whether an exception from user code is the response that the caller receives.

    Errors with status 500 are not: they say that something is broken, and the log must have their traceback.
    """
    if not isinstance(error, PenstockError) or isinstance(error, (HandlerError, Cancelled)):
        return False
    return error.status != PenstockError.status


def fields_of(error: PenstockError) -> tuple[str, dict[str, Any]]:
    """Return the name of the nearest class in ``penstock.errors``, and the fields, as MessagePack can carry them.

    User code may have put anything into a field. A value that does not fit is converted to text, or else left out.
    """
    kind = next(base for base in type(error).__mro__ if base.__module__ == errors.__name__)
    fields = {}
    for name, annotation in {**_annotations(kind.__name__), **_FACTS}.items():
        value = getattr(error, name, None)
        for as_text in (False, True):
            try:
                fields[name] = msgspec.to_builtins(msgspec.convert(_plain(value, as_text=as_text), annotation))
                break
            except Exception:  # noqa: S112 - str() of a value of the user's runs the user's code; the field is left out
                continue
    facts = {name for name in _FACTS if fields.get(name) == getattr(kind, name)}
    return kind.__name__, {name: value for name, value in fields.items() if name not in facts}


def rebuild_answer(name: str, fields: dict[str, Any]) -> PenstockError:
    """Return the error that ``fields_of`` described, if it is the response of a handler.

    Raises
    ------
    ValueError
        If this is not the description of an error that a worker may report.
    """
    error = rebuild(name, fields)
    if not is_answer(error) or any(starmap(header_mistake, error.headers.items())):
        raise ValueError(f"{name} cannot be an answer with these fields")
    return error


def rebuild(name: str, fields: dict[str, Any]) -> PenstockError:
    """Return the error that ``fields_of`` described.

    Raises
    ------
    ValueError
        If this is not the description of an error.
    """
    kind = _kinds().get(name)
    if kind is None:
        raise ValueError(f"{name!r} is not an error")
    annotations = {**_annotations(name), **_FACTS}
    error = kind(str(fields.get("detail", "")))
    for field, value in fields.items():
        if field not in annotations:
            raise ValueError(f"{name} has no field {field!r}")
        vars(error)[field] = msgspec.convert(value, annotations[field])  # its ValidationError is a ValueError
    return error


@functools.cache
def _kinds() -> dict[str, type[PenstockError]]:
    classes = (kind for kind in vars(errors).values() if isinstance(kind, type))
    return {kind.__name__: kind for kind in classes if issubclass(kind, PenstockError)}


@functools.cache
def _annotations(name: str) -> dict[str, Any]:
    hints = typing.get_type_hints(_kinds()[name])
    return {name: hint for name, hint in hints.items() if ClassVar not in (hint, typing.get_origin(hint))}


def _plain(value: Any, *, as_text: bool) -> Any:
    if isinstance(value, dict):
        return {clean(str(key)): _plain(item, as_text=as_text) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, as_text=as_text) for item in value]
    if isinstance(value, str) or (as_text and value is not None):
        return clean(str(value))
    return value


def clean(text: str) -> str:
    """Return the text with a limited length, and with lone surrogates replaced."""
    if len(text) > MAX_DETAIL_CHARACTERS:
        text = f"{text[:MAX_DETAIL_CHARACTERS]}... ({len(text)} characters)"
    return encodable(text)


def encodable(text: str) -> str:
    """Replace lone surrogates, which a file name may contain and UTF-8 cannot represent."""
    return text.encode("utf-8", "replace").decode("utf-8")
