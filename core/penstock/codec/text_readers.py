"""Readers of values that arrive as text, or as files: in a path, a query or a form."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import msgspec

from penstock.codec import decoding, pydantic_types
from penstock.codec.custom_types import read_custom
from penstock.codec.form_bodies import FormPair
from penstock.codec.text_shapes import TextShape, shapes_of
from penstock.codec.uploads import Upload
from penstock.errors import PenstockError

_FLAGS = {"on": "true", "off": "false"}  # the values of a checkbox in a browser
_NOT_JSON_NUMBER = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


class TextReader:
    """A reader of named texts and files into a value with fields: the handler's parameters, or a struct.

    Parameters
    ----------
    annotation:
        The type of the value.
    schema:
        Returns the type's JSON Schema, which is not needed before the first text.
    noun:
        The word for a name in errors: "field", or "query parameter".
    """

    def __init__(self, annotation: Any, schema: Callable[[], dict[str, Any]], noun: str = "field") -> None:
        self._annotation = annotation
        self._describe = schema
        self._noun = noun

    @cached_property
    def _schema(self) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a default that JSON does not have, for instance
            try:
                return self._describe()
            except Exception:  # pydantic may run the user's code for it; without it, each text is JSON or text
                return {}

    @cached_property
    def shapes(self) -> dict[str, TextShape]:
        """The shape of each field."""
        return shapes_of(self._schema)

    @cached_property
    def _takes_others(self) -> bool:
        return self._schema.get("additionalProperties", True) is not False

    def read(self, pairs: Iterable[FormPair]) -> Any:
        """Return the value.

        Raises
        ------
        InvalidRequest
            If something does not fit; ``errors`` and ``param`` name it.
        HandlerError
            If code of the user's own types raised an exception that is not a validation error.
        """
        values: dict[str, Any] = {}
        given: set[str] = set()
        for name, value in pairs:
            known, shape = self._field(name)
            if shape.item is not None:
                if not _is_blank(value, shape.item):
                    values.setdefault(known, []).append(_plain(value, shape.item, known))
            elif known in given:
                raise decoding.invalid([(_path(known), f"given more than once, but takes one {self._noun}")])
            elif not _is_blank(value, shape):
                values[known] = _plain(value, shape, known)
            given.add(known)
        try:
            return msgspec.convert(values, self._annotation, strict=False, dec_hook=_validate)
        except PenstockError:  # the user's own types may raise one themselves
            raise
        except Exception as error:
            raise decoding.explain(error, b"", is_json=False) from error

    def _field(self, name: str) -> tuple[str, TextShape]:
        """Return the name and shape of the field that is meant: a list may be sent as ``name[]``, too."""
        shape = self.shapes.get(name)
        if shape is not None:
            return name, shape
        bare = name.removesuffix("[]")
        listed = self.shapes.get(bare)
        if bare != name and listed is not None and listed.kind == "list":
            return bare, listed
        if not self._takes_others:
            raise decoding.invalid([(_path(name), f"unknown {self._noun}")])
        return name, TextShape("any")


def _path(name: str) -> str:
    return f"$.{name[: decoding.MAX_NAME_CHARACTERS]}"


def _is_blank(value: str | bytes | Upload, shape: TextShape) -> bool:
    """Return whether a field was left empty that cannot be empty text: forms of browsers send those, too."""
    return not isinstance(value, Upload) and not value and shape.kind not in ("text", "bytes", "mixed")


def _plain(value: str | bytes | Upload, shape: TextShape, name: str) -> Any:
    """Return a value as msgspec converts it."""
    if shape.kind == "upload":
        if not isinstance(value, Upload):
            raise decoding.invalid([(_path(name), f"not a file; send one with curl -F {name}=@FILE")])
        return value
    if shape.kind == "bytes":
        content = value.content if isinstance(value, Upload) else value
        return content.encode() if isinstance(content, str) else content
    text = _text(value, name)
    if shape.kind == "scalar" and _NOT_JSON_NUMBER.fullmatch(text):
        raise decoding.invalid([(_path(name), f"{text} is not a number")])
    if shape.kind == "flag":
        return _FLAGS.get(text, text)
    if shape.kind == "json":
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise decoding.invalid([(_path(name), f"not JSON: {error}")]) from None
    if shape.kind == "any" or (shape.kind == "mixed" and text.lstrip()[:1] in ("{", "[")):
        return _json_or_text(text)
    return text


def _text(value: str | bytes | Upload, name: str) -> str:
    content = value.content if isinstance(value, Upload) else value
    if isinstance(content, str):
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise decoding.invalid([(_path(name), "not UTF-8 text")]) from None


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _validate(cls: Any, value: Any) -> Any:
    """Return a value as a class reads it that msgspec does not know. This is msgspec's ``dec_hook``."""
    parts = value.values() if isinstance(value, dict) else (value,)
    if pydantic_types.is_adapted(cls) and any(isinstance(part, bytes) for part in parts):
        return cls.adapter.validate_python(value)  # in JSON, which pydantic reads otherwise, bytes would be text
    return read_custom(cls, value)
