"""Tensors among the results of a handler, from its return annotation."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, Final

from penstock.codec.pydantic_types import fields_of
from penstock.codec.tensor_types import tensor_fields, tensor_of
from penstock.codec.tensors import Tensor
from penstock.errors import UNENCODABLE, HandlerError

OUTPUT: Final = "output"
"""The name of the result of a handler that returns one array."""


class TensorResults:
    """The tensors that a handler returns: one array, or a class with arrays as fields.

    Parameters
    ----------
    tensors:
        The tensors by name.
    optional:
        The names of those that may be None.
    is_record:
        True if they are the fields of a class; a handler may also return a dict with these names.
    """

    __slots__ = ("_is_record", "_optional", "tensors")

    def __init__(self, tensors: Mapping[str, Tensor], optional: Collection[str], *, is_record: bool) -> None:
        self.tensors = tensors
        self._optional = optional
        self._is_record = is_record

    @property
    def is_one_array(self) -> bool:
        """True if the result is one array, and nothing else, and numpy's own format can hold it."""
        return not self._is_record and self.tensors[OUTPUT].datatype not in ("BYTES", "BF16")

    def arrays(self, value: Any) -> dict[str, Any]:
        """Return the arrays of a result by name, without those that are None.

        Raises
        ------
        HandlerError
            If one does not fit.
        """
        found = {name: self._part(value, name) for name in self.tensors}
        return {
            name: self._array(name, part)
            for name, part in found.items()
            if part is not None or name not in self._optional
        }

    def plain(self, value: Any) -> Any:
        """Return a result as JSON has it: nested lists in the place of arrays. Raises like ``arrays``."""
        lists = {name: self._plain(name, array) for name, array in self.arrays(value).items()}
        if not self._is_record:
            return lists.get(OUTPUT)
        rest = value if isinstance(value, Mapping) else _fields_of(value)
        return {**rest, **lists}

    def value_of(self, arrays: dict[str, Any]) -> Any:
        """Return the result with these arrays: the one of them, or all by name."""
        return arrays if self._is_record else arrays[OUTPUT]

    def _part(self, value: Any, name: str) -> Any:
        if not self._is_record:
            return value
        return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)

    def _array(self, name: str, part: Any) -> Any:
        tensor = self.tensors[name]
        try:
            if part is None:
                raise ValueError(f"Expected {tensor}, got None")
            return tensor.write(part)
        except Exception as error:  # numpy, and whatever code of the value's own type it calls
            what = f"the field {name!r} of the result" if self._is_record else "the result"
            fix = f"; write .astype({tensor.dtype.name!r})" if "got dtype" in str(error) else ""
            detail = f"{what} does not fit its annotation: {error}{fix}"
            raise HandlerError(detail, exception_type=UNENCODABLE) from error

    def _plain(self, name: str, array: Any) -> Any:
        try:
            return self.tensors[name].plain(array)
        except ValueError as error:
            raise HandlerError(str(error), exception_type=UNENCODABLE) from error


def tensor_results(returns: Any) -> TensorResults | None:
    """Return the tensors of a return annotation, or None if it has none."""
    tensor = tensor_of(returns)
    if tensor is not None:
        return TensorResults({OUTPUT: tensor}, [OUTPUT] if _is_optional(returns) else (), is_record=False)
    tensors = tensor_fields(returns)
    if not tensors:
        return None
    optional = [name for name, annotation, _ in fields_of(returns) if name in tensors and _is_optional(annotation)]
    return TensorResults(tensors, optional, is_record=True)


def _is_optional(annotation: Any) -> bool:
    return types.NoneType in typing.get_args(annotation)


def _fields_of(value: Any) -> dict[str, Any]:
    names: Any = getattr(value, "__struct_fields__", None) or getattr(value, "__dataclass_fields__", ())
    return {name: getattr(value, name) for name in names}
