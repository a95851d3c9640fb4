"""The typed contents of tensors in gRPC messages, and the raw data that are the same."""

from __future__ import annotations

import struct
from typing import Any, Final

from penstock_chat import refuse

_LENGTH: Final = struct.Struct("<I")
_FIELDS: Final = {
    "BOOL": ("bool_contents", "?"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
    "BYTES": ("bytes_contents", ""),
}
"""For each datatype that has typed contents: their field, and the code of one element."""


def has_typed_contents(datatype: str) -> bool:
    """Return whether a datatype has typed contents; the data of others are always raw."""
    return datatype in _FIELDS


def raw_of_contents(contents: Any, datatype: str, where: str) -> bytes:
    """Return the raw data of typed contents.

    Parameters
    ----------
    contents:
        An ``InferTensorContents``.
    datatype:
        The datatype.
    where:
        The input, for messages.

    Raises
    ------
    InvalidRequest
        If the datatype has no typed contents, another field is filled, or a value is out of range.
    """
    if datatype not in _FIELDS:
        refuse(where, f"the data of {datatype[:40]} are sent in raw_input_contents")
    name, code = _FIELDS[datatype]
    others = [field.name for field, _ in contents.ListFields() if field.name != name]
    if others:
        refuse(where, f"its data are in {others[0]}; those of {datatype} belong into {name}")
    values = getattr(contents, name)
    if not code:
        return b"".join(part for value in values for part in (_LENGTH.pack(len(value)), value))
    try:
        return struct.pack(f"<{len(values)}{code}", *values)
    except (struct.error, OverflowError):
        refuse(where, f"a value is out of the range of {datatype}")


def add_contents(contents: Any, datatype: str, raw: memoryview) -> None:
    """Fill typed contents with the values of raw data, which the server has written."""
    name, code = _FIELDS[datatype]
    values = getattr(contents, name)
    if code:
        values.extend(struct.unpack(f"<{len(raw) // struct.calcsize(f'<{code}')}{code}", raw))
        return
    place = 0
    while place < len(raw):
        begin = place + _LENGTH.size
        place = begin + _LENGTH.unpack_from(raw, place)[0]
        values.append(bytes(raw[begin:place]))
