"""Checks of results against the return annotation, which is what the output schema promises.

The body is checked, not the value: an array is a list[float] to the caller. No validator and no ``__post_init__`` runs
in a check: it might have side effects, or refuse a value that it has made itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock.codec import decoding, json_schema
from penstock.codec.pydantic_output import is_described
from penstock.codec.pydantic_types import survey
from penstock.codec.schema_check import SchemaCheck
from penstock.response import OCTETS, Encoded, Response

JsonCheck = Callable[[bytes], str | None]
"""Returns why JSON does not match, or None."""
ResultCheck = Callable[[Encoded], str | None]
"""Returns why a result does not match, or None."""


def result_check(annotation: Any) -> ResultCheck | None:
    """Return the check for this return annotation, or None if it promises nothing that JSON can be checked for."""
    if annotation is bytes:
        return lambda result: "it is JSON, not bytes" if result.media_type is None else None
    mismatch = json_check(annotation)
    if mismatch is None:
        return None

    def check(result: Encoded) -> str | None:
        if result.media_type is not None:  # most likely a Response, which may be anything
            return "it is bytes" if result.media_type == OCTETS else None
        return mismatch(result.body)

    return check


def json_check(annotation: Any) -> JsonCheck | None:
    """Return the check of JSON against this annotation, or None if it promises nothing."""
    try:
        if annotation in (Any, bytes):
            return None
        parts = survey(annotation)
        if Response in parts.records:  # it may be JSON of any kind
            return None
        if parts.models or any(hasattr(cls, "__post_init__") for cls in parts.records):
            return _schema_check(annotation) if all(map(is_described, parts.models)) else None
        read = decoding.result_reader(annotation)
    except Exception:  # a return annotation only describes the result, so one of any kind is accepted
        return None
    return None if read is None else _reader_check(read)


def _reader_check(read: decoding.Reader) -> JsonCheck:
    def check(body: bytes) -> str | None:
        try:
            read(body)
        except msgspec.ValidationError as error:
            return str(error)
        except Exception:  # an enum may have code of the user's as well
            return None
        return None

    return check


def _schema_check(annotation: Any) -> JsonCheck | None:
    schema = json_schema.output_schema(annotation)
    if not schema:
        return None
    against = SchemaCheck(schema)

    def check(body: bytes) -> str | None:
        try:
            return against.misfit(msgspec.json.decode(body))
        except Exception:  # a schema may be anything that the user's own types say
            return None

    return check
