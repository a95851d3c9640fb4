"""Checks of a request against the model that it is for, from what it says about its tensors; none looks at the data."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Final

from penstock import Tensor
from penstock.hooks import near_miss
from penstock_chat import refuse
from penstock_oip.served_models import ServedModel
from penstock_oip.tensor_requests import InputTensor, OutputWish, PlannedInput, PlannedOutput, TensorRequest

ITEM_BYTES: Final = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip
"""The size of an element of each datatype; BYTES have none."""

LENGTH_BYTES: Final = 4
"""The size of the length in front of each element of BYTES."""

MOST_ELEMENTS: Final = 1 << 40
"""No tensor has more elements, those of empty dimensions left out: numpy could not even hold the shape."""


def planned_inputs(model: ServedModel, request: TensorRequest) -> list[PlannedInput]:
    """Return the inputs of a request as a worker decodes them.

    Raises
    ------
    InvalidRequest
        If one is missing, unknown, named twice, or does not fit the model.
    """
    planned: dict[str, PlannedInput] = {}
    for given in request.inputs:
        tensor = model.inputs.get(given.name)
        if tensor is None:
            refuse("inputs", f"there is no input {given.name[:200]!r}; {near_miss(given.name[:200], model.inputs)}")
        if given.name in planned:
            refuse("inputs", f"the input {given.name!r} occurs twice")
        _check_input(given, tensor)
        planned[given.name] = PlannedInput(given.name, given.datatype, list(given.shape), given.size_bytes, given.place)
    missing = [name for name in model.inputs if name in model.required and name not in planned]
    if missing:
        refuse(
            "inputs", f"the input {missing[0]!r} is missing; the model {model.name!r} takes {', '.join(model.inputs)}"
        )
    return list(planned.values())


def _check_input(given: InputTensor, tensor: Tensor) -> None:
    where = f"inputs.{given.name}"
    if given.datatype != tensor.datatype:
        refuse(where, f"its datatype is {given.datatype[:40]!r}, and the model takes {tensor}")
    if min(given.shape, default=0) < 0 or not tensor.fits(given.shape):
        refuse(where, f"its shape is {list(given.shape)[:20]}, and the model takes {tensor}")
    if prod(size for size in given.shape if size) > MOST_ELEMENTS:
        refuse(where, f"its shape {list(given.shape)} has too many elements")
    if given.size_bytes is not None:
        _check_size(given, given.size_bytes, where)


def _check_size(given: InputTensor, size_bytes: int, where: str) -> None:
    elements = prod(given.shape)
    item_bytes = ITEM_BYTES.get(given.datatype)
    if item_bytes is None:
        if size_bytes < elements * LENGTH_BYTES:
            refuse(where, f"{size_bytes} bytes of data are too few for {elements} elements with their lengths")
    elif size_bytes != elements * item_bytes:
        refuse(
            where,
            f"it has {size_bytes} bytes of data, and {given.datatype} of shape {list(given.shape)} takes "
            f"{elements * item_bytes}",
        )


def planned_outputs(model: ServedModel, request: TensorRequest) -> list[PlannedOutput]:
    """Return the outputs that a request asks for as a worker writes them.

    Raises
    ------
    InvalidRequest
        If one is unknown, or named twice.
    """
    return [
        PlannedOutput(wish.name, result, tensor.datatype, wish.is_binary)
        for wish, (result, tensor) in _wishes(model, request)
    ]


def _wishes(model: ServedModel, request: TensorRequest) -> Iterator[tuple[OutputWish, tuple[str, Tensor]]]:
    if request.outputs is None:
        for name, output in model.outputs.items():
            yield OutputWish(name=name, is_binary=request.is_binary), output
        return
    named: set[str] = set()
    for wish in request.outputs:
        if wish.name not in model.outputs:
            refuse("outputs", f"there is no output {wish.name[:200]!r}; {near_miss(wish.name[:200], model.outputs)}")
        if wish.name in named:
            refuse("outputs", f"the output {wish.name!r} occurs twice")
        named.add(wish.name)
        yield wish, model.outputs[wish.name]


def items_of(model: ServedModel, inputs: list[PlannedInput]) -> int:
    """Return the share of a batch that a request takes: its first dimension, if its tensors are joined with others.

    Raises
    ------
    InvalidRequest
        If its inputs differ in it, or it is more than a batch may have.
    """
    if not model.most_items:
        return 1
    if not inputs:
        refuse(
            "inputs", f"a batch has no request without any; the model {model.name!r} takes {', '.join(model.inputs)}"
        )
    sizes = {planned.name: planned.shape[0] for planned in inputs}
    items = next(iter(sizes.values()))
    for name, size in sizes.items():
        if size != items:
            refuse(f"inputs.{name}", f"its first dimension is {size} and that of another input {items}")
    if items > model.most_items:
        refuse("inputs", f"their first dimension is {items}; this model takes {model.most_items} at a time")
    return max(items, 1)
