"""Batches of tensors: the arrays of several requests joined along their first dimension, and the results taken apart.

A request's own first dimension is its share of the batch. Only requests whose other dimensions agree are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from penstock.codec.tensor_results import TensorResults
from penstock.codec.tensors import FREE, Tensor, concatenated
from penstock.errors import DeclarationError, HandlerError, InvalidRequest


class JoinedTensors:
    """The way in which the inputs of one batching handler are joined.

    Parameters
    ----------
    inputs:
        The tensors that it takes, by name.
    arrays_of:
        Takes a decoded input and returns its arrays by name.
    results:
        The tensors that it returns.
    most_items:
        The largest sum of first dimensions in one call.
    owner:
        The declaration to name in errors.

    Raises
    ------
    DeclarationError
        If a first dimension is not free, so that nothing can be joined.
    """

    def __init__(
        self,
        inputs: Mapping[str, Tensor],
        arrays_of: Callable[[Any], dict[str, Any]],
        results: TensorResults | None,
        *,
        most_items: int,
        owner: str,
    ) -> None:
        if results is None:
            raise DeclarationError(
                f"{owner}: with batching, a handler of joined tensors returns tensors, which are taken apart again; "
                'annotate its result, for instance `-> Annotated[numpy.ndarray, Tensor("FP32", [-1, 3])]`'
            )
        for name, tensor in [*inputs.items(), *results.tensors.items()]:
            if tensor.shape[:1] != (FREE,):
                raise DeclarationError(
                    f"{owner}: with batching, `{name}` is joined along its first dimension, which has to be -1 and is "
                    f"not in {list(tensor.shape)}; write -1, or list[...] to take the arrays one by one"
                )
        self._arrays_of = arrays_of
        self._results = results
        self._most_items = most_items

    def items_of(self, decoded: Any) -> int:
        """Return the first dimension of an input: its share of the batch.

        Raises
        ------
        InvalidRequest
            If its arrays differ in it, if it has none, or if it is more than a batch may have.
        """
        sizes = {name: len(array) for name, array in self._arrays_of(decoded).items()}
        if not sizes:
            raise InvalidRequest("the request has no tensor at all; a batch has no place for it")
        items = next(iter(sizes.values()))
        for name, size in sizes.items():
            if size != items:
                raise InvalidRequest(
                    f"$.{name}: its first dimension is {size} and that of another input {items}; a batch has one size",
                    param=name,
                )
        if items > self._most_items:
            name = next(iter(sizes))
            raise InvalidRequest(
                f"$.{name}: its first dimension is {items}; this model takes {self._most_items} at a time", param=name
            )
        return items

    def checked(self, decoded: Any) -> Any:
        """Return an input as it is; raises like ``items_of``."""
        self.items_of(decoded)
        return decoded

    def groups(self, inputs: Sequence[Any]) -> list[list[int]]:
        """Return which of these inputs go together, by their places: those that fit, up to the size of a batch."""
        groups: list[list[int]] = []
        open_groups: dict[Any, tuple[list[int], int]] = {}
        none: tuple[list[int], int] = [], self._most_items + 1  # so full that not even an input without rows fits
        for place, decoded in enumerate(inputs):
            arrays = self._arrays_of(decoded)
            key = tuple((name, array.shape[1:]) for name, array in arrays.items())
            items = len(next(iter(arrays.values())))
            group, used = open_groups.get(key, none)
            if used + items > self._most_items:
                group, used = [], 0
                groups.append(group)
            group.append(place)
            open_groups[key] = group, used + items
        return groups

    def joined(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """Return the arrays of a group by name, joined; those of one input as they are."""
        if len(inputs) == 1:
            return self._arrays_of(inputs[0])
        columns = [self._arrays_of(decoded) for decoded in inputs]
        return {name: concatenated([arrays[name] for arrays in columns]) for name in columns[0]}

    def taken_apart(self, returned: Any, inputs: Sequence[Any]) -> list[Any]:
        """Return the result of each input: an array, or a dict of them.

        Raises
        ------
        HandlerError
            If the result does not fit, or its first dimension is not that of the joined inputs.
        """
        arrays = self._results.arrays(returned)
        sizes = [len(next(iter(self._arrays_of(decoded).values()))) for decoded in inputs]
        for name, array in arrays.items():
            if len(array) != sum(sizes):
                raise HandlerError(
                    f"predict returned {name!r} with {len(array)} rows for a batch of {sum(sizes)}: return one for each"
                )
        ends = list(accumulate(sizes))
        return [
            self._results.value_of({name: array[end - size : end] for name, array in arrays.items()})
            for size, end in zip(sizes, ends, strict=True)
        ]
