"""A request in terms of tensors, whatever it was read from, and the plan by which a worker decodes and answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec


class InputTensor(msgspec.Struct, kw_only=True):
    """An input as a request describes it."""

    name: str
    datatype: str
    shape: Sequence[int]
    size_bytes: int | None = None
    """The size of its raw data; None if its data are JSON."""
    place: int = 0
    """Where it is: the first byte of its raw data in the body, or its place among the inputs of the JSON."""


class OutputWish(msgspec.Struct, kw_only=True):
    """An output that a request asks for."""

    name: str
    is_binary: bool = False


class TensorRequest(msgspec.Struct, kw_only=True):
    """A request in terms of tensors."""

    inputs: Sequence[InputTensor]
    outputs: Sequence[OutputWish] | None = None
    """Those that it asks for; None for all."""
    is_binary: bool = False
    """True if outputs that it does not name are to be raw data."""
    id: str = ""
    parameters: Mapping[str, Any] = {}
    json_bytes: int = 0
    """The size of the JSON at the beginning of the body."""
    is_one_element: bool = False
    """True if the raw data are one element of BYTES, without its length."""


class PlannedInput(msgspec.Struct, array_like=True):
    """An input as a worker decodes it."""

    name: str
    datatype: str
    shape: list[int]
    size_bytes: int | None
    place: int


class PlannedOutput(msgspec.Struct, array_like=True):
    """An output as a worker writes it."""

    name: str
    result: str
    datatype: str
    is_binary: bool


class RequestPlan(msgspec.Struct, array_like=True):
    """All that a worker needs to know in order to decode a body and to write the answer."""

    model_name: str
    model_version: str
    id: str
    json_bytes: int
    is_one_element: bool
    inputs: list[PlannedInput]
    outputs: list[PlannedOutput]
    plain: dict[str, Any]
    """The values of parameters of the handler that are not tensors."""


encode_plan: Final = msgspec.json.Encoder().encode
decode_plan: Final = msgspec.json.Decoder(RequestPlan).decode
