"""Requests whose body is the raw data of the one input, and nothing else."""

from __future__ import annotations

from math import prod
from typing import Final

from penstock import Tensor
from penstock_chat import refuse
from penstock_oip.served_models import ServedModel
from penstock_oip.tensor_checks import ITEM_BYTES
from penstock_oip.tensor_requests import InputTensor, TensorRequest

FREE: Final = -1


def raw_request(model: ServedModel, size_bytes: int) -> TensorRequest:
    """Return the request that a body of raw data is; the answer is raw data behind JSON.

    Raises
    ------
    InvalidRequest
        If the model has several inputs, or the shape does not follow from the size.
    """
    if len(model.inputs) != 1:
        refuse("", f"a body without JSON is for one input, and {model.name!r} has {', '.join(model.inputs)}")
    [(name, tensor)] = model.inputs.items()
    is_one_element = tensor.datatype == "BYTES"
    shape = _shape_of_text(tensor, name) if is_one_element else _shape_of(model, tensor, name, size_bytes)
    # The length of an element is not in front of it, but counts as if it were.
    given = InputTensor(name=name, datatype=tensor.datatype, shape=shape, size_bytes=size_bytes + 4 * is_one_element)
    return TensorRequest(inputs=[given], is_binary=True, is_one_element=is_one_element)


def _shape_of_text(tensor: Tensor, name: str) -> list[int]:
    shape = [1 if size == FREE else size for size in tensor.shape]
    if prod(shape) != 1:
        refuse(f"inputs.{name}", f"a body without JSON is one element, and the model takes {tensor}")
    return shape


def _shape_of(model: ServedModel, tensor: Tensor, name: str, size_bytes: int) -> list[int]:
    """Return the shape with one item, if requests are joined, and with the size that is left for one free dimension."""
    shape = list(tensor.shape)
    if model.most_items:
        shape[0] = 1
    free = [place for place, size in enumerate(shape) if size == FREE]
    if len(free) > 1:
        refuse(f"inputs.{name}", f"a body without JSON does not say its shape, and the model takes {tensor}")
    if free:
        row_bytes = prod(size for size in shape if size != FREE) * ITEM_BYTES[tensor.datatype]
        shape[free[0]] = size_bytes // row_bytes if row_bytes else 0
    return shape
