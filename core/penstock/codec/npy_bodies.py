"""Bodies in numpy's own format: one array, without JSON in between.

The format is that of ``numpy.save``: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import math
import sys
from typing import Any, Final

from penstock.codec.tensor_results import TensorResults
from penstock.errors import MalformedRequest
from penstock.response import Response

NPY: Final = "application/x-npy"


def read_npy(body: bytes) -> Any:
    """Return the array of a body, in memory of its own.

    Raises
    ------
    MalformedRequest
        If it is not an array in this format, is cut short, or has objects of Python.
    """
    numpy = sys.modules["numpy"]
    form = numpy.lib.format
    source = io.BytesIO(body)
    try:
        version = form.read_magic(source)
        read_header = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        shape, is_fortran, dtype = read_header(source)
    except ValueError as error:
        raise MalformedRequest(f"the body is not an array as numpy.save writes it: {error}") from None
    if dtype.hasobject:
        raise MalformedRequest("the array has Python objects, which are not read; send it as JSON")
    # Before any memory is taken for it: a header of a few bytes may announce any size.
    size_bytes = math.prod(shape) * dtype.itemsize
    if size_bytes != len(body) - source.tell():
        raise MalformedRequest(
            f"the array has {size_bytes} bytes by its shape {list(shape)}, and {len(body) - source.tell()} follow"
        )
    array = numpy.frombuffer(body, dtype, offset=source.tell()) if size_bytes else numpy.empty(0, dtype)
    array = array.reshape(shape, order="F" if is_fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C")


def write_npy(array: Any) -> bytes:
    """Return an array as a body."""
    numpy = sys.modules["numpy"]
    target = io.BytesIO()
    numpy.lib.format.write_array(target, array, allow_pickle=False)
    return target.getvalue()


def accepts_npy(accept: str) -> bool:
    """Return whether a header ``Accept`` names the format."""
    return any(part.partition(";")[0].strip().lower() == NPY for part in accept.split(","))


class NpyAnswer:
    """The answer to a client that wants one array in this format."""

    def __init__(self, results: TensorResults) -> None:
        self._results = results

    def feed(self, chunk: Any) -> tuple[list[Any], bool]:
        """Leave the chunks of a stream as they are."""
        return [chunk], False

    def finish(self) -> list[Any]:
        """Return nothing: no chunk was held back."""
        return []

    def whole(self, result: Any) -> Any:
        """Return the response with the array."""
        arrays = self._results.arrays(result)
        return Response(write_npy(*arrays.values()), NPY) if arrays else result
