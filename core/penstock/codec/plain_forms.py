"""Plain forms: values of types that msgspec does not support, as equivalent values of types that it does.

numpy scalars and arrays, pydantic models, paths, and any mapping, sequence or set. None of these libraries is imported
here: without them in the user's program there can be no such value.
"""

from __future__ import annotations

import collections
import collections.abc
import datetime as dt
import math
import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import msgspec

from penstock.codec.decoding import class_name
from penstock.codec.pydantic_output import dump
from penstock.codec.pydantic_types import is_pydantic
from penstock.codec.uploads import Upload, plain_upload


def simplified(value: Any) -> Any:
    """Return an equivalent value of a type that msgspec supports. This is msgspec's ``enc_hook``.

    Raises
    ------
    TypeError
        If it has no JSON form.
    ValueError
        If its type has one, but not this value.
    """
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return _plain_numpy(numpy, numpy.asanyarray(value))
    if is_pydantic(type(value)):
        return dump(value, fallback=simplified)
    # msgspec itself writes a list or a tuple, unless it is a key: then a list in its place would be a key again.
    for base, plain in _PLAIN_FORMS if type(value) not in (tuple, list) else ():
        if isinstance(value, base):
            return plain(value)
    raise TypeError(f"{class_name(type(value))} has no JSON form")


def _plain_time(value: Any) -> Any:
    """Return the text of a subclass such as pandas' Timestamp; its NaT is a datetime, too, and counts as NaN."""
    return value.isoformat() if value == value else math.nan  # noqa: PLR0124 - only NaT differs from itself


def _plain_timedelta(value: Any) -> Any:
    """Return a plain timedelta, or the text of a pandas Timedelta that is more precise than microseconds."""
    plain = dt.timedelta(value.days, value.seconds, value.microseconds)
    nanoseconds = getattr(value, "nanoseconds", 0)
    return _duration((plain // _MICROSECOND) * 1000 + nanoseconds) if nanoseconds else plain


_MICROSECOND = dt.timedelta(microseconds=1)
_NANOSECONDS_A_DAY = 86_400 * 10**9


def _duration(nanoseconds: int) -> str:
    """Return the ISO 8601 text of a duration, in the form that msgspec writes, with nine decimals."""
    days, rest = divmod(abs(nanoseconds), _NANOSECONDS_A_DAY)
    seconds, fraction = divmod(rest, 10**9)
    sign = "-" if nanoseconds < 0 else ""
    return f"{sign}P{f'{days}D' if days else ''}T{seconds}.{fraction:09}S"


_PLAIN_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((str, collections.UserString), str),
    (int, int),
    (float, float),
    (dt.date, _plain_time),
    (dt.time, _plain_time),
    (dt.timedelta, _plain_timedelta),
    (PurePath, str),
    (Upload, plain_upload),
    (collections.abc.Mapping, dict),
    ((collections.abc.Sequence, collections.abc.Set, collections.abc.ValuesView, collections.deque), list),
)


# ---- numpy


def _plain_numpy(numpy: Any, array: Any) -> Any:
    kind = array.dtype.kind
    if kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(numpy.float64)  # tolist() of a longdouble returns a longdouble again, without end
    elif kind in "mM":
        array = _plain_times(numpy, array)
    elif kind in "OcV":
        raise TypeError(f"numpy arrays of dtype {array.dtype} have no JSON form")
    return array.tolist()


def _plain_times(numpy: Any, array: Any) -> Any:
    """Return an array of Python's datetimes or timedeltas, of text where those are not precise enough, and NaN for NaT.

    Only microseconds have a Python type: tolist() would return nanoseconds and large values as bare integers.
    """
    missing = numpy.isnat(array)
    _require_expressible(numpy, array[~missing])
    exact = array.astype(f"{array.dtype.kind}8[us]")
    times = exact.astype(object)
    inexact = (exact.astype(array.dtype) != array) & ~missing
    if inexact.any():
        times[inexact] = _precise_text(numpy, array[inexact])
    times[missing] = math.nan
    return times


_VAGUE_UNITS = {"generic": "no unit", "M": "months", "Y": "years"}


def _require_expressible(numpy: Any, array: Any) -> None:
    """Refuse dates that ISO 8601 cannot express, and durations without a fixed length, which numpy would estimate."""
    unit, _ = numpy.datetime_data(array.dtype)
    if array.dtype.kind == "m":
        if unit in _VAGUE_UNITS and array.size:
            raise ValueError(f"a timedelta64 in {_VAGUE_UNITS[unit]} has no fixed length")
        return
    days = array.astype("M8[D]")
    if ((days < numpy.datetime64("0001-01-01")) | (days > numpy.datetime64("9999-12-31"))).any():
        raise ValueError("dates are written with the years 1 to 9999")


def _precise_text(numpy: Any, array: Any) -> Any:
    if array.dtype.kind == "M":
        return numpy.datetime_as_string(array)
    exact = array.astype("m8[ns]")
    if (exact.astype(array.dtype) != array).any():
        raise ValueError("a timedelta64 is too large, or more precise than nanoseconds")
    return [_duration(nanoseconds) for nanoseconds in exact.astype("i8").tolist()]


to_json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=simplified).encode
"""Return the JSON of a value, or raise whatever its type raises."""
