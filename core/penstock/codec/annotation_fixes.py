"""The annotation to write in place of one that JSON cannot be decoded into, for types that handlers often take.

No library is imported for this: types are recognised by the module and the name of a base class.
"""

from __future__ import annotations

import collections
import collections.abc
import numbers
from pathlib import PurePath
from typing import Any


def fix_for(custom: Any) -> str:
    """Return what to write in place of a class that JSON cannot be decoded into."""
    bases = getattr(custom, "__mro__", (custom,))
    for base in bases:
        fix = _FIXES.get((base.__module__.partition(".")[0], base.__name__))
        if fix is not None:
            return fix
    if custom.__module__.partition(".")[0] in _ARRAY_PACKAGES:
        return _AS_ARRAY
    return _fix_for_kind(custom)


def _fix_for_kind(custom: Any) -> str:
    for kind, fix in _KINDS:
        if isinstance(custom, type) and issubclass(custom, kind):
            return fix
    return "use built-in types, a struct, a dataclass, a TypedDict or a pydantic model"


_ARRAY_PACKAGES = ("numpy", "torch", "jax", "jaxlib", "tensorflow", "scipy", "xarray")
_AS_ARRAY = "use list[float] (or bytes) and create the array in the handler"
_AS_TENSOR = 'use Annotated[numpy.ndarray, Tensor("FP32", [-1])] (or another datatype and shape)'
_AS_TEXT = "use str and create it in the handler"
_AS_BYTES = "use bytes, and write io.BytesIO(it) in the handler"

_KINDS: tuple[tuple[Any, str], ...] = (
    (PurePath, "use str, and write pathlib.Path(it) in the handler"),
    (dict, "use dict"),
    (collections.UserDict, "use dict"),
    (numbers.Real, "use float"),
    (collections.abc.Iterable, "use list"),
    (collections.abc.AsyncIterable, "use list"),
)

# The key is the package and the name of a class or of one of its bases.
_FIXES: dict[tuple[str, str], str] = {
    ("numpy", "ndarray"): _AS_TENSOR,
    ("numpy", "floating"): "use float",
    ("numpy", "integer"): "use int",
    ("numpy", "bool"): "use bool",
    ("numpy", "bool_"): "use bool",
    ("numpy", "str_"): "use str",
    ("numpy", "datetime64"): "use datetime.datetime, and write numpy.datetime64(it) in the handler",
    ("pandas", "DataFrame"): "use list[dict[str, Any]], and write pandas.DataFrame(it) in the handler",
    ("pandas", "Series"): "use list[float], and write pandas.Series(it) in the handler",
    ("pandas", "Timestamp"): "use datetime.datetime, and write pandas.Timestamp(it) in the handler",
    ("pandas", "Timedelta"): "use datetime.timedelta, and write pandas.Timedelta(it) in the handler",
    ("polars", "DataFrame"): "use list[dict[str, Any]], and write polars.DataFrame(it) in the handler",
    ("polars", "Series"): "use list[float], and write polars.Series(it) in the handler",
    ("pyarrow", "Table"): "use list[dict[str, Any]], and write pyarrow.Table.from_pylist(it) in the handler",
    ("PIL", "Image"): "use bytes, and write PIL.Image.open(io.BytesIO(it)) in the handler",
    ("builtins", "complex"): "use tuple[float, float], and write complex(*it) in the handler",
    ("fractions", "Fraction"): "use str, and write fractions.Fraction(it) in the handler",
    ("io", "IOBase"): _AS_BYTES,
    ("_io", "_IOBase"): _AS_BYTES,
    ("typing", "IO"): _AS_BYTES,
    ("ipaddress", "_IPAddressBase"): _AS_TEXT,
    ("re", "Pattern"): "use str",
    ("datetime", "tzinfo"): "use str, and write zoneinfo.ZoneInfo(it) in the handler",
}
