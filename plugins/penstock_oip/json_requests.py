"""The JSON of a request to infer. The data of its tensors are not decoded here."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from penstock.errors import MalformedRequest
from penstock_chat import refuse_field


class InputObject(msgspec.Struct):
    """An input in the JSON of a request."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class OutputObject(msgspec.Struct):
    """An output that the JSON of a request asks for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferObject(msgspec.Struct):
    """The JSON of a request. Clients send further fields, which are ignored."""

    inputs: list[InputObject]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[OutputObject] | None = None


class DataObject(msgspec.Struct):
    """The data of an input in the JSON of a request."""

    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class DataObjects(msgspec.Struct):
    """The data of all inputs in the JSON of a request."""

    inputs: list[DataObject]


_read_infer: Final = msgspec.json.Decoder(InferObject).decode
_read_data: Final = msgspec.json.Decoder(DataObjects).decode

BARE_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|\b(?:NaN|Infinity)\b', re.DOTALL)
"""A text, or a number that JSON does not have, but Python's ``json`` writes and reads, and so clients send."""


def infer_object(content: bytes) -> InferObject:
    """Return the JSON of a request.

    Raises
    ------
    MalformedRequest
        If it is not JSON.
    InvalidRequest
        If its fields do not fit; names the first that does not.
    """
    try:
        try:
            return _read_infer(content)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if not has_bare_tokens(content):
                raise
            return _read_infer(BARE_TOKEN.sub(_as_number, content))
    except msgspec.ValidationError as error:
        refuse_field(str(error))
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise MalformedRequest(f"The body is not JSON: {error}") from None


def data_objects(content: bytes) -> list[DataObject]:
    """Return the data of the inputs of a request that ``infer_object`` has read, with JSON's numbers only.

    Raises
    ------
    DecodeError
        If it has others as well: msgspec's.
    """
    return _read_data(content).inputs


def has_bare_tokens(content: bytes) -> bool:
    """Return whether there may be numbers that JSON does not have."""
    return b"NaN" in content or b"Infinity" in content


def _as_number(found: re.Match[bytes]) -> bytes:
    token = found[0]
    return token if token.startswith(b'"') else b"0"
