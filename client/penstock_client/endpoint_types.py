"""The types of an endpoint's input and output, and its path with values in it."""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from penstock_client.errors import InvalidAnswer

_VARIABLE: Final = re.compile(r"\{(\w+)\}")


class OutputDecoder:
    """The type of an answer, or of one event of a stream.

    Parameters
    ----------
    kind:
        A type that msgspec can decode. In a union with ``bytes``, these stand for an answer that is not JSON.

    Raises
    ------
    TypeError
        If msgspec cannot decode it.
    """

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        parts = typing.get_args(kind) if typing.get_origin(kind) in {typing.Union, types.UnionType} else (kind,)
        self._takes_bytes = bytes in parts
        in_json = [part for part in parts if part is not bytes]
        self._in_json = functools.reduce(operator.or_, in_json) if in_json else bytes
        try:
            self._decoder = msgspec.json.Decoder(self._in_json)
        except TypeError as error:
            raise TypeError(f"output={name_of(kind)} cannot be decoded: {error}") from None

    def decoded(self, body: bytes) -> Any:
        """Return the value of a body that is JSON.

        Raises
        ------
        InvalidAnswer
            If it is not of this type.
        """
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise self._mismatch(error) from None

    def converted(self, value: Any) -> Any:
        """Return a value that was decoded from JSON, or text or bytes, as this type.

        Raises
        ------
        InvalidAnswer
            If it is not of this type.
        """
        if self._takes_bytes and isinstance(value, bytes):
            return value
        try:
            return msgspec.convert(value, self._in_json, str_keys=True)
        except msgspec.ValidationError as error:
            raise self._mismatch(error) from None

    def _mismatch(self, error: Exception) -> InvalidAnswer:
        found = InvalidAnswer(f"{InvalidAnswer.title}: it is not {name_of(self.kind)}: {error}")
        found.may_have_run = True
        return found


def require_input(endpoint: str, kind: Any, body: Any) -> None:
    """Raise ``TypeError`` if the input is a struct or a dataclass, and the body is not one."""
    is_class = isinstance(kind, type) and (issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind))
    if is_class and not isinstance(body, kind):
        raise TypeError(f"{endpoint} takes {name_of(kind)}, and not {type(body).__name__}; write {name_of(kind)}(...)")


def path_of(template: str, path: Mapping[str, Any] | None, query: Mapping[str, Any] | None) -> str:
    """Return the path of an endpoint with the values of its variables, and its query.

    Parameters
    ----------
    template:
        The path, with variables in braces.
    path:
        A value for each variable.
    query:
        The query. A None is left out, and a list is one parameter for each item.

    Raises
    ------
    TypeError
        If a value cannot be written as text.
    ValueError
        If a variable has no value, or an empty one, or if there is no such variable.
    """
    values = dict(path or {})

    def filled(found: re.Match[str]) -> str:
        text = _text(found[1], values.pop(found[1], None))
        if not text:
            raise ValueError(f"{template}: give a value for {found[1]!r}, with path={{{found[1]!r}: ...}}")
        return quote(text, safe="")

    written = _VARIABLE.sub(filled, template)
    if values:
        raise ValueError(f"{template} has no variable {next(iter(values))!r}")
    pairs = [(name, text) for name, value in (query or {}).items() for text in _texts(name, value)]
    return f"{written}?{urlencode(pairs)}" if pairs else written


def _texts(name: str, value: Any) -> Iterable[str]:
    if isinstance(value, list | tuple | set | frozenset):
        return [_text(name, each) for each in value]
    return [] if value is None else [_text(name, value)]


def _text(name: str, value: Any) -> str:
    """Return a value as it is written into a URL: text as it is, and all else as in JSON."""
    plain = msgspec.to_builtins(value, str_keys=True) if value is not None else ""
    if isinstance(plain, str):
        return plain
    try:
        return msgspec.json.encode(plain).decode()
    except TypeError as error:
        raise TypeError(f"{name} cannot be written into a URL: {error}") from None


def name_of(kind: Any) -> str:
    """Return the name of a type, for messages."""
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)
