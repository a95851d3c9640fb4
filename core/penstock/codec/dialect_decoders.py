"""Bodies in the format of a dialect, which one of its functions decodes in the worker, and may answer there, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from penstock.codec.chunk_filters import ChunkFilter
from penstock.errors import HandlerError, PenstockError


@dataclass(frozen=True, slots=True)
class DialectInput:
    """An input as values: what a decoder returns in the place of a plain body, if JSON would be a detour.

    Parameters
    ----------
    values:
        The value of each parameter by name, or of each field, if the whole body is a class. Arrays are taken as they
        are, if they fit the handler's tensors; other values are read as if they were JSON.
    arrays_answer:
        Writes the answer to this request, in the worker: takes the arrays of the result by name, which fit the
        handler's tensors, and returns what is sent, for instance a ``Response`` with bytes. None: the answer is what
        the handler returns.
    """

    values: Mapping[str, Any]
    arrays_answer: Callable[[dict[str, Any]], Any] | None = None


class ArraysFilter:
    """A filter that writes results from their arrays.

    Parameters
    ----------
    arrays_of:
        Returns the arrays of a result by name.
    write:
        Takes the arrays and returns what is sent.
    """

    __slots__ = ("_arrays_of", "_write")

    def __init__(self, arrays_of: Callable[[Any], dict[str, Any]], write: Callable[[dict[str, Any]], Any]) -> None:
        self._arrays_of = arrays_of
        self._write = write

    def feed(self, chunk: Any) -> tuple[list[Any], bool]:
        """Return what to send for a chunk with arrays of its own; there may be more."""
        return [self.whole(chunk)], False

    def finish(self) -> list[Any]:
        """Return nothing: each chunk is whole."""
        return []

    def whole(self, result: Any) -> Any:
        """Return what to send for a result."""
        return self._write(self._arrays_of(result))


class FilteredInput(NamedTuple):
    """A decoded input with the filter of its answer."""

    value: Any
    chunk_filter: ChunkFilter | None


def decoded(body: bytes, decoder: str, media_type: str = "") -> bytes | DialectInput:
    """Return the plain body, or the values, that a decoder, ``module:function``, makes of another body.

    Parameters
    ----------
    body:
        The body.
    decoder:
        The decoder.
    media_type:
        The content type for decoders that are called with it; otherwise "".

    Raises
    ------
    PenstockError
        If the decoder refuses the body.
    HandlerError
        If it cannot be imported, or fails.
    """
    try:
        function = _imported(decoder)
        plain: bytes | DialectInput = function(bytes(body), media_type) if media_type else function(bytes(body))
    except PenstockError:
        raise
    except Exception as error:
        raise HandlerError(
            f"the decoder {decoder} raised {type(error).__name__}: {error}", exception_type=type(error).__name__
        ) from error
    return plain


@cache
def _imported(decoder: str) -> Any:
    module, _, name = decoder.partition(":")
    return getattr(import_module(module), name)
