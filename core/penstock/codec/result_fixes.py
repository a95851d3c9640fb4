"""The code to write in place of a value that cannot be sent, for the types that handlers return most often.

No library is imported for this: types are recognised by the module and the name of a base class.
"""

from __future__ import annotations

import collections.abc
import enum
import io
import numbers
import types
from collections.abc import Callable
from typing import Any

_Fix = str | Callable[[Any], str]


def fix_for(value: Any, *, is_whole: bool) -> str:
    """Return the code to write in place of a value that has no JSON form.

    Parameters
    ----------
    value:
        The value.
    is_whole:
        True if it is the whole result, so that a ``Response`` can take its place.
    """
    try:
        return (
            _fix_for_picture(value, is_whole=is_whole)
            or _fix_for_type(value)
            or _fix_for_kind(value, is_whole=is_whole)
        )
    except Exception:  # methods of the value's own type are called to choose the fix
        return ""


def is_known(value: Any) -> bool:
    """Return whether there is a fix for the value's type itself, so that its parts need not be looked at."""
    return any(base in _FIXES for base in _bases(value))


def _bases(value: Any) -> list[tuple[str, str]]:
    return [(base.__module__.partition(".")[0], base.__name__) for base in type(value).__mro__]


def _fix_for_type(value: Any) -> str:
    for base in _bases(value):
        fix = _FIXES.get(base)
        if fix is not None:
            return fix if isinstance(fix, str) else fix(value)
    return ""


def _fix_for_kind(value: Any, *, is_whole: bool) -> str:
    if isinstance(value, dict):
        return "write {str(key): value for key, value in it.items()}"
    for kind, fix in _KINDS:
        if isinstance(value, kind):
            return fix
    if isinstance(value, (types.CoroutineType, types.AsyncGeneratorType, collections.abc.Iterator)):
        return _fix_for_iterator(value, is_whole=is_whole)
    return "convert it with .tolist()" if hasattr(value, "tolist") else _OTHERWISE


def _fix_for_iterator(value: Any, *, is_whole: bool) -> str:
    if isinstance(value, types.CoroutineType):
        if is_whole:
            return "if a decorator hides that the handler is `async def`, write its wrapper the same way"
        return "write `await` before the call"
    if is_whole:
        return "a generator streams if it is the whole result, without batching; otherwise write list(it)"
    return "write [item async for item in it]" if isinstance(value, types.AsyncGeneratorType) else "write list(it)"


_OTHERWISE = "return a dict, list, string or number, a dataclass or a struct in its place"
_AS_TEXT = "write str(it)"
_KINDS: tuple[tuple[Any, str], ...] = (
    (enum.Enum, "write it.name"),
    (numbers.Integral, "write int(it)"),
    (numbers.Real, "write float(it)"),
    (numbers.Complex, "write [it.real, it.imag]"),
    (types.SimpleNamespace, "write vars(it)"),
    ((io.BytesIO, io.StringIO), "write it.getvalue()"),
    (io.IOBase, "write it.read()"),
    (BaseException, _AS_TEXT),
    (type, "write it.__name__"),
    (memoryview, "write bytes(it)"),
    ((bytes, bytearray), 'write model_config = pydantic.ConfigDict(ser_json_bytes="base64") in the model'),
    ((types.FunctionType, types.BuiltinFunctionType, types.MethodType), "call it, if its result is meant"),
)


# ---- pictures


def _fix_for_picture(value: Any, *, is_whole: bool) -> str:
    if any(base.__module__ == "PIL.Image" for base in type(value).__mro__):
        image = "image" if value.mode in _PNG_MODES else 'image.convert("RGB")'
        save = f'{image}.save(buffer, "PNG")'
    elif ("matplotlib", "FigureBase") in _bases(value):
        save = 'figure.savefig(buffer, format="png")'
    elif ("matplotlib", "Artist") in _bases(value):
        save = 'it.figure.savefig(buffer, format="png")'
    else:
        return ""
    use = 'return Response(buffer.getvalue(), media_type="image/png")' if is_whole else "use " + _PICTURE_TEXT
    return f"write buffer = io.BytesIO(); {save}; {use}"


_PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
_PICTURE_TEXT = "base64.b64encode(buffer.getvalue()).decode()"


# ---- tables


def _fix_for_frame(frame: Any) -> str:
    code = "frame"
    if frame.isna().any(axis=None):
        code += ".astype(object).where(frame.notna(), None)"
    if frame.columns.nlevels > 1:
        code += '.set_axis(["_".join(map(str, name)) for name in frame.columns], axis=1)'
    if not _is_numbered(frame):
        code += f"{_TEXT_LABELS}.reset_index()" if _holds_spans(frame.index) else ".reset_index()"
    return f'write {code}.to_dict(orient="records")'


def _fix_for_series(series: Any) -> str:
    code = 'series.map(str, na_action="ignore")' if _holds_spans(series) else "series"
    if series.isna().any():
        code += ".astype(object).where(series.notna(), None)"
    if _holds_spans(series.index):
        code += _TEXT_LABELS
    if _is_numbered(series):
        return f"write {code}.tolist()"
    if series.index.nlevels > 1 or not series.index.is_unique:
        return f'write {code}.reset_index().to_dict(orient="records"), or {code}.tolist() without the labels'
    return f"write {code}.to_dict(), or {code}.tolist() without the labels"


def _fix_for_values(values: Any) -> str:
    item = "str(item)" if _holds_spans(values) else "item"
    if getattr(values, "nlevels", 1) == 1 and values.isna().any():
        return f"write [None if pandas.isna(item) else {item} for item in it]"
    if item != "item":
        return f"write [{item} for item in it]"
    return "convert it with .tolist()"


_TEXT_LABELS = ".rename(index=str)"


def _holds_spans(values: Any) -> bool:
    """Return whether the values are intervals, as those of pandas.cut, or periods. Neither has a JSON form."""
    categories = getattr(values.dtype, "categories", None)
    dtype = values.dtype if categories is None else categories.dtype
    return str(dtype).startswith(("interval", "period"))


def _is_numbered(table: Any) -> bool:
    """Return whether the rows have only their numbers for labels, so that nothing is lost without them."""
    return type(table.index).__name__ == "RangeIndex"


# ---- arrays


def _fix_for_array(array: Any) -> str:
    kind = array.dtype.kind
    if kind == "c":
        return "write numpy.stack([array.real, array.imag], axis=-1).tolist()"
    if kind in "mM":
        return "write array.astype(str).tolist()"
    if kind == "V" and array.dtype.names and array.ndim == 1:
        return "write [dict(zip(array.dtype.names, row)) for row in array.tolist()]"
    is_number = kind == "V" and not array.dtype.names and array.dtype.type.__name__ != "void"  # such as bfloat16
    return "convert it with .astype(float).tolist()" if is_number else "convert it with .tolist()"


def _fix_for_scalar(scalar: Any) -> str:
    kind = scalar.dtype.kind
    if kind == "c":
        return "write [it.real, it.imag]"
    if scalar.dtype.names:
        return "write dict(zip(it.dtype.names, it.tolist()))"
    return _AS_TEXT if kind in "mM" else "convert it with .tolist()"


def _fix_for_tensor(tensor: Any) -> str:
    if tensor.device.type == "meta":
        return "compute it on a device: a tensor on meta has no values"
    if tensor.is_nested:
        return "write [part.tolist() for part in tensor.unbind()]"
    code = "tensor.dequantize()" if tensor.is_quantized else "tensor"
    if str(tensor.layout) != "torch.strided":
        code += ".to_dense()"
    if tensor.is_complex():
        code = f"torch.view_as_real({code})"
    return "convert it with .tolist()" if code == "tensor" else f"write {code}.tolist()"


# The key is the package and the name of a class or of one of its bases.
_FIXES: dict[tuple[str, str], _Fix] = {
    ("pandas", "DataFrame"): _fix_for_frame,
    ("pandas", "Series"): _fix_for_series,
    ("pandas", "Index"): _fix_for_values,
    ("pandas", "ExtensionArray"): _fix_for_values,
    ("pandas", "NAType"): "write None in its place: None if pandas.isna(it) else it",
    ("pandas", "NaTType"): "write None in its place: None if pandas.isna(it) else it",
    ("pandas", "Period"): _AS_TEXT,
    ("pandas", "Interval"): _AS_TEXT,
    ("pandas", "BaseOffset"): _AS_TEXT,
    ("polars", "DataFrame"): "write frame.to_dicts()",
    ("polars", "LazyFrame"): "write frame.collect().to_dicts()",
    ("polars", "Series"): "write series.to_list()",
    ("pyarrow", "_Tabular"): "write table.to_pylist()",
    ("pyarrow", "Array"): "write array.to_pylist()",
    ("pyarrow", "ChunkedArray"): "write array.to_pylist()",
    ("pyarrow", "Scalar"): "write it.as_py()",
    ("xarray", "DataArray"): "write array.values.tolist()",
    ("xarray", "Dataset"): "write dataset.to_dict()",
    ("scipy", "_spbase"): "write it.toarray().tolist()",
    ("numpy", "ndarray"): _fix_for_array,
    ("numpy", "generic"): _fix_for_scalar,
    ("numpy", "dtype"): _AS_TEXT,
    ("torch", "Tensor"): _fix_for_tensor,
    ("torch", "dtype"): _AS_TEXT,
    ("torch", "device"): _AS_TEXT,
    ("torch", "layout"): _AS_TEXT,
    ("tensorflow", "Tensor"): "write it.numpy().tolist()",
    ("ipaddress", "_IPAddressBase"): _AS_TEXT,
    ("re", "Pattern"): "write it.pattern",
    ("re", "Match"): "write it.group()",
    ("datetime", "tzinfo"): _AS_TEXT,
    ("pydantic", "_BaseUrl"): _AS_TEXT,
    ("pydantic", "_SecretBase"): "write it.get_secret_value()",
    ("penstock", "Event"): "an Event is a chunk of a stream; yield it, or write it.data",
}
