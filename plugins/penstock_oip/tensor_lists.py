"""Data of tensors as JSON: nested or flat lists, and text for BYTES. Runs in workers."""

from __future__ import annotations

import json
from math import prod
from typing import Any, Final

import msgspec
import numpy as np

from penstock.errors import InvalidRequest
from penstock_chat import refuse
from penstock_oip.tensor_bytes import dtype_of
from penstock_oip.tensor_requests import PlannedInput

_FLOATS: Final = frozenset({"FP16", "BF16", "FP32", "FP64"})
_MOST_LEVELS: Final = 64  # numpy has no more dimensions


def array_of_lists(data: Any, planned: PlannedInput) -> Any:
    """Return the array of an input's JSON data, which are nested in any way, in the order of rows.

    Raises
    ------
    InvalidRequest
        If they have another number of elements than the shape, or any that the datatype does not have.
    """
    where = f"inputs.{planned.name}"
    flat = _flattened(data, where)
    elements = prod(planned.shape)
    if len(flat) != elements:
        refuse(where, f"it has {len(flat)} elements, and its shape {planned.shape} has {elements}")
    if planned.datatype == "BYTES":
        array = _array_of_texts(flat, where)
    else:
        array = _array_of_numbers(flat, planned.datatype, where)
    return array.reshape(planned.shape)


def _flattened(data: Any, where: str) -> list[Any]:
    flat = data if isinstance(data, list) else [data]
    levels = 0
    while list in set(map(type, flat)):
        levels += 1
        if levels >= _MOST_LEVELS:
            refuse(where, f"its lists are nested more than {_MOST_LEVELS} levels deep")
        flat = [item for part in flat for item in (part if isinstance(part, list) else (part,))]
    return flat


def _array_of_texts(flat: list[Any], where: str) -> Any:
    if not all(isinstance(item, str) for item in flat):
        refuse(where, "its elements are text in JSON, because its datatype is BYTES")
    array = np.empty(len(flat), dtype=object)
    array[:] = [item.encode("utf-8", "surrogatepass") for item in flat]
    return array


def _array_of_numbers(flat: list[Any], datatype: str, where: str) -> Any:
    kinds = set(map(type, flat))
    wanted: set[type] = (
        {bool} if datatype == "BOOL" else {int, float} | ({type(None)} if datatype in _FLOATS else set())
    )
    if not kinds <= wanted:
        refuse(where, f"it has elements that {datatype} does not have, such as {_sample(flat, wanted)}")
    try:
        if datatype in _FLOATS:
            return _floats(flat, datatype, where)
        if float in kinds:  # 1.0 is a whole number to JSON
            flat = [int(item) if item == item // 1 else _fraction(item) for item in flat]
        return np.array(flat, dtype=dtype_of(datatype))
    except (ValueError, OverflowError):
        refuse(where, f"it has a number that {datatype} cannot hold")


def _fraction(item: float) -> int:
    raise ValueError(item)


def _floats(flat: list[Any], datatype: str, where: str) -> Any:
    wide = np.array(flat, dtype="float64")  # None becomes NaN
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = wide.astype(dtype_of(datatype), copy=False)
    if datatype != "FP64" and (np.isfinite(wide) & ~np.isfinite(narrow)).any():
        refuse(where, f"it has a number that {datatype} cannot hold")
    return narrow


def _sample(flat: list[Any], wanted: set[type]) -> str:
    other = next(item for item in flat if type(item) not in wanted)
    return "null" if other is None else f"{other!r:.60}"


def json_of_array(array: Any, datatype: str, name: str) -> bytes:
    """Return the elements of an array as a flat JSON list; NaN and infinities as their bare names.

    Raises
    ------
    InvalidRequest
        If there are bytes that are not UTF-8.
    """
    if datatype == "BYTES":
        return msgspec.json.encode(_texts(array, name))
    flat = array.ravel()
    if datatype == "BF16":
        flat = flat.astype("float32")
    if datatype in _FLOATS and not np.isfinite(flat).all():
        return json.dumps(flat.tolist()).encode()
    return msgspec.json.encode(flat.tolist())


def _texts(array: Any, name: str) -> list[str]:
    try:
        return [item.decode() for item in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the output {name!r} has bytes that are not UTF-8 ({error}); ask for it with binary_data", param="outputs"
        ) from None
