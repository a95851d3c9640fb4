"""Tensors: numpy arrays with a datatype and a shape, as parameters and results of handlers.

The names of the datatypes are those of the Open Inference Protocol. numpy is not imported here: without it in the
user's program there can be no such array.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from penstock.errors import DeclarationError

FREE: Final = -1
"""A dimension of any size."""


class Datatype(NamedTuple):
    """A type of the items of a tensor."""

    dtype: str
    """The name of the numpy dtype."""
    kinds: str
    """The kinds of the numpy arrays that lists of such items become."""
    json_type: str
    """The type of an item in a JSON Schema."""


_REAL = "fiu"
_INTEGER = "iuf"  # 1.0 is an integer to JSON Schema

DATATYPES: Final = {
    "BOOL": Datatype("bool", "b", "boolean"),
    "UINT8": Datatype("uint8", _INTEGER, "integer"),
    "UINT16": Datatype("uint16", _INTEGER, "integer"),
    "UINT32": Datatype("uint32", _INTEGER, "integer"),
    "UINT64": Datatype("uint64", _INTEGER, "integer"),
    "INT8": Datatype("int8", _INTEGER, "integer"),
    "INT16": Datatype("int16", _INTEGER, "integer"),
    "INT32": Datatype("int32", _INTEGER, "integer"),
    "INT64": Datatype("int64", _INTEGER, "integer"),
    "FP16": Datatype("float16", _REAL, "number"),
    "BF16": Datatype("bfloat16", _REAL, "number"),
    "FP32": Datatype("float32", _REAL, "number"),
    "FP64": Datatype("float64", _REAL, "number"),
    "BYTES": Datatype("object", "", "string"),
}
"""The datatypes by name. An item of BYTES is a ``bytes`` object."""


class Tensor:
    """The datatype and the shape of an array: ``Annotated[numpy.ndarray, Tensor("FP32", [-1, 4])]``.

    A handler receives arrays of exactly this dtype and a shape that fits. Its result has to fit as well.

    Parameters
    ----------
    datatype:
        One of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64 and BYTES. BF16 needs ml_dtypes. The items
        of BYTES are ``bytes``, in an array of dtype object; a handler may return text as well.
    shape:
        The sizes of the dimensions; -1 stands for any size. ``[]`` is a scalar.

    Attributes
    ----------
    dtype:
        The numpy dtype.

    Raises
    ------
    DeclarationError
        If there is no such datatype, if a size is not an integer of at least -1, or if a library is missing.
    """

    __slots__ = ("_kind", "datatype", "dtype", "shape")

    def __init__(self, datatype: str, shape: Sequence[int]) -> None:
        if datatype not in DATATYPES:
            raise DeclarationError(f"Tensor({datatype!r}, ...): there is no such datatype; use {', '.join(DATATYPES)}")
        is_list = isinstance(shape, (list, tuple)) and all(type(size) is int and size >= FREE for size in shape)
        if not is_list:
            raise DeclarationError(
                f"Tensor({datatype!r}, {shape!r}): a shape is a list of sizes, 0 or more, or -1 for any size; write "
                "for instance [-1, 4]"
            )
        self.datatype = datatype
        self.shape = tuple(shape)
        self._kind = DATATYPES[datatype]
        self.dtype = _dtype_of(datatype)

    def __repr__(self) -> str:
        return f"Tensor({self.datatype!r}, {list(self.shape)})"

    def __str__(self) -> str:
        return f"{self.datatype} of shape {list(self.shape)}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tensor):
            return NotImplemented
        return (self.datatype, self.shape) == (other.datatype, other.shape)

    def __hash__(self) -> int:
        return hash((self.datatype, self.shape))

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether an array of this shape fits."""
        return len(shape) == len(self.shape) and all(
            wanted in (FREE, size) for wanted, size in zip(self.shape, shape, strict=True)
        )

    def read(self, value: Any) -> Any:
        """Return an input as an array.

        Parameters
        ----------
        value:
            An array of this dtype, which is returned as it is; or nested lists, as JSON has them.

        Raises
        ------
        ValueError
            If it does not fit.
        """
        numpy = _numpy()
        return self._checked(value if isinstance(value, numpy.ndarray) else self._from_lists(numpy, value))

    def write(self, value: Any) -> Any:
        """Return a result as an array.

        Parameters
        ----------
        value:
            An array, what numpy makes an array of without a copy, such as a tensor of torch on the CPU; or nested
            lists.

        Raises
        ------
        ValueError
            If it does not fit.
        """
        numpy = _numpy()
        is_plain = isinstance(value, (list, tuple, int, float, bool, str, bytes))
        if is_plain and not isinstance(value, numpy.generic):  # some of numpy's scalars are numbers of Python, too
            return self._checked(self._from_lists(numpy, value))
        array = numpy.asarray(value)
        if self.datatype == "BYTES" and array.dtype.kind in "OSU":
            array = _bytes_array(numpy, self, array)  # as lists, an empty one would lose its shape
        return self._checked(array)

    def _checked(self, array: Any) -> Any:
        if array.dtype != self.dtype:
            raise ValueError(f"Expected {self}, got dtype {array.dtype}")
        if not self.fits(array.shape):
            raise ValueError(f"Expected {self}, got shape {list(array.shape)}")
        return array

    def _from_lists(self, numpy: Any, value: Any) -> Any:
        """Return the array of nested lists, and let no other type of item pass for the right one."""
        if self.datatype == "BYTES":
            return _bytes_array(numpy, self, value)
        try:
            array = numpy.array(value)
        except (ValueError, OverflowError):
            raise ValueError(f"Expected {self}, got lists of different lengths") from None
        if array.size and array.dtype.kind not in self._kind.kinds:
            raise ValueError(f"Expected {self}, got {_ITEMS.get(array.dtype.kind, 'items of several types')}")
        with numpy.errstate(over="ignore", invalid="ignore"):
            narrow = array.astype(self.dtype)
        is_kept = numpy.isfinite(narrow) | ~numpy.isfinite(array) if self._kind.kinds == _REAL else narrow == array
        if not is_kept.all():
            raise ValueError(f"Expected {self}, got a number that it cannot hold")
        return narrow

    def plain(self, array: Any) -> Any:
        """Return an array of this tensor as JSON has it: nested lists, and text for BYTES.

        Raises
        ------
        ValueError
            If it has bytes that are not UTF-8.
        """
        if self.datatype == "BYTES":
            return _texts(array.tolist())
        return array.astype("float32").tolist() if self.datatype == "BF16" else array.tolist()

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the nested lists."""
        schema: dict[str, Any] = {"type": self._kind.json_type}
        for size in reversed(self.shape):
            bounds = {} if size == FREE else {"minItems": size, "maxItems": size}
            schema = {"type": "array", "items": schema, **bounds}
        return {**schema, "description": str(self)}


_ITEMS = {"f": "numbers with a fraction", "i": "numbers", "u": "numbers", "b": "booleans", "U": "text"}


def _numpy() -> Any:
    return sys.modules["numpy"]


def concatenated(arrays: Sequence[Any]) -> Any:
    """Return arrays of one tensor joined along their first dimension."""
    return _numpy().concatenate(arrays)


def _dtype_of(datatype: str) -> Any:
    try:
        if datatype == "BF16":
            import ml_dtypes  # noqa: PLC0415 - only this datatype needs it

            return _numpy().dtype(ml_dtypes.bfloat16)
        return _numpy().dtype(DATATYPES[datatype].dtype)
    except KeyError:
        raise DeclarationError(f"Tensor({datatype!r}, ...) is a numpy array; import numpy") from None
    except ImportError:
        raise DeclarationError(f"Tensor({datatype!r}, ...) needs ml_dtypes: pip install ml-dtypes") from None


def _bytes_array(numpy: Any, tensor: Tensor, value: Any) -> Any:
    """Return an array of ``bytes`` objects from nested lists of text or bytes."""
    array = numpy.array(value, dtype=object)
    items = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
    if not all(isinstance(item, bytes) for item in items):
        raise ValueError(f"Expected {tensor}, got items that are not text, or lists of different lengths")
    flat = numpy.empty(len(items), dtype=object)
    flat[:] = items
    return flat.reshape(array.shape)


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"BYTES that are not UTF-8 cannot be sent as JSON ({error}); ask for binary data") from None
