"""Raw data of tensors: little-endian, row by row, without gaps. Runs in workers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import prod
from struct import Struct
from typing import Any, Final

import numpy as np

from penstock import Tensor
from penstock_chat import refuse
from penstock_oip.tensor_requests import PlannedInput

_LENGTH: Final = Struct("<I")


@cache
def dtype_of(datatype: str) -> Any:
    """Return the numpy dtype of a datatype."""
    return Tensor(datatype, []).dtype


def array_of_bytes(body: bytes, planned: PlannedInput) -> Any:
    """Return the array of an input's raw data: a copy of its own, which is aligned, and may be changed.

    Raises
    ------
    InvalidRequest
        If elements of BYTES do not fit their size.
    """
    assert planned.size_bytes is not None
    if planned.datatype == "BYTES":
        end = planned.place + planned.size_bytes
        return _objects(list(_elements(body, planned.place, end, planned)), planned.shape)
    if planned.datatype == "BOOL":  # any other byte than 0 is true, and numpy relies on 0 and 1
        return _view(body, "uint8", planned).reshape(planned.shape) != 0
    return _view(body, dtype_of(planned.datatype), planned).reshape(planned.shape).copy()


def _view(body: bytes, dtype: Any, planned: PlannedInput) -> Any:
    return np.frombuffer(body, dtype=dtype, count=prod(planned.shape), offset=planned.place)


def array_of_element(body: bytes, shape: list[int]) -> Any:
    """Return the array with one element of BYTES."""
    return _objects([body], shape)


def _objects(items: list[bytes], shape: list[int]) -> Any:
    flat = np.empty(len(items), dtype=object)
    flat[:] = items
    return flat.reshape(shape)


def _elements(body: bytes, start: int, end: int, planned: PlannedInput) -> Iterator[bytes]:
    where = f"inputs.{planned.name}"
    for _ in range(prod(planned.shape)):
        begin = start + _LENGTH.size
        if begin > end:
            refuse(where, f"its data end within the length of an element; {planned.shape} needs more of them")
        start = begin + _LENGTH.unpack_from(body, start)[0]
        if start > end:
            refuse(where, "an element is longer than what is left of its data")
        yield body[begin:start]
    if start != end:
        refuse(where, f"{end - start} bytes of its data are left after the elements of the shape {planned.shape}")


def bytes_of_array(array: Any, datatype: str) -> Any:
    """Return the raw data of an array as a buffer: without a copy, if its items are in order."""
    if datatype != "BYTES":
        return np.ascontiguousarray(array).reshape(-1).view("uint8").data
    parts: list[bytes] = []
    for item in array.ravel().tolist():
        parts += (_LENGTH.pack(len(item)), item)
    return b"".join(parts)
