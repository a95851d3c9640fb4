"""Defaults of parameters and fields: checked when an endpoint is declared, and copied for each call that needs one."""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from penstock.codec.custom_types import read_custom
from penstock.codec.pydantic_types import fields_of, is_adapted, is_pydantic
from penstock.codec.signature import NO_DEFAULT, Parameter
from penstock.errors import DeclarationError

# Objects that stand for a default in a class body. As the default of a parameter they would reach the handler.
_FIELD_KINDS = (dataclasses.Field, type(msgspec.field()))


def default_field(parameter: Parameter) -> Any:
    """Return the msgspec field with the parameter's default, if it has one."""
    default = parameter.default
    if parameter.required:
        return msgspec.field()
    if parameter.default_factory is not None:
        return msgspec.field(default_factory=parameter.default_factory)
    try:
        hash(default)
        msgspec.to_builtins(default)
    except TypeError:
        # A mutable default is copied: a handler that appends to it would otherwise leak one caller's data to another.
        # A default without a JSON form cannot appear in a JSON Schema: a factory keeps it out.
        return msgspec.field(default_factory=partial(copied, default))
    return msgspec.field(default=default)


def maker_of(parameter: Parameter) -> Callable[[], Any]:
    """Return a function that returns the parameter's default, for a parameter that has one."""
    return parameter.default_factory or partial(copied, parameter.default)


def copied(value: Any) -> Any:
    """Return a copy of a default for one call, which may modify it."""
    try:
        return copy.deepcopy(value)
    except Exception:  # a lock, a module, a sentinel that cannot be copied: plain Python would share it too
        return value


def require_fitting(annotation: Any, default: Any, *, owner: str) -> None:
    """Check that a default, and every default of a field inside the type, is a value of its own type.

    Callers that omit the field would otherwise make the handler receive what its annotation excludes.

    Raises
    ------
    DeclarationError
        If not; names the default and the fix.
    """
    if isinstance(default, _FIELD_KINDS):
        raise DeclarationError(
            f"{owner}: the default is a {type(default).__name__}() of a class body, which the handler would receive "
            "as it is; write the value itself"
        )
    if default is not NO_DEFAULT and not _fits(default, annotation):
        fix = "; write `| None`" if default is None else ""
        raise DeclarationError(f"{owner}: the default {default!r} is not a {_name_of(annotation)}{fix}")
    _require_fitting_fields(annotation, owner, set())


def _require_fitting_fields(annotation: Any, owner: str, seen: set[int]) -> None:
    if id(annotation) in seen or is_adapted(annotation) or is_pydantic(annotation):
        return  # pydantic may be configured to validate defaults, or not to
    seen.add(id(annotation))
    if isinstance(annotation, type):
        for name, inner, default in fields_of(annotation):
            require = f"{owner}, field `{name}` of {annotation.__name__}"
            if default is not NO_DEFAULT and not _fits(default, inner):
                fix = "; write `| None`" if default is None else ""
                raise DeclarationError(f"{require}: the default {default!r} is not a {_name_of(inner)}{fix}")
            _require_fitting_fields(inner, owner, seen)
    for part in typing.get_args(annotation):
        _require_fitting_fields(part, owner, seen)


def _fits(default: Any, annotation: Any) -> bool:
    if default is msgspec.UNSET:
        return msgspec.UnsetType in typing.get_args(annotation)
    if is_adapted(annotation):
        return _converts(lambda: annotation.adapter.validate_python(default))
    return _converts(lambda: msgspec.convert(default, annotation, dec_hook=read_custom)) or _converts(
        # A str enum, a subclass of float: values that JSON can express, of classes that `convert` does not know.
        lambda: msgspec.convert(msgspec.to_builtins(default, enc_hook=_plain), annotation, dec_hook=read_custom)
    )


def _converts(convert: Callable[[], Any]) -> bool:
    try:
        convert()
    except Exception:  # validators of the user's own types run in there, and may raise anything
        return False
    return True


def _plain(value: Any) -> Any:
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    raise TypeError(type(value))


def _name_of(annotation: Any) -> str:
    return f"`{annotation.__name__}`" if isinstance(annotation, type) else f"`{annotation}`".replace("typing.", "")
