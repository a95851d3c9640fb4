"""Requests to infer over HTTP: JSON, JSON with raw data behind it, or raw data alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.errors import MalformedRequest
from penstock.hooks import DialectRequest
from penstock_chat import refuse
from penstock_oip.json_requests import InferObject, InputObject, OutputObject, infer_object
from penstock_oip.raw_requests import raw_request
from penstock_oip.served_models import ServedModel
from penstock_oip.tensor_requests import InputTensor, OutputWish, TensorRequest

JSON_SIZE_HEADER: Final = "inference-header-content-length"
"""The header with the size of the JSON in front of raw data, in a request and in a response."""

_NULL: Final = b"null"


def json_bytes_of(request: DialectRequest) -> int | None:
    """Return the size of the JSON at the beginning of the body; None if the body is JSON as a whole.

    Raises
    ------
    MalformedRequest
        If it is not a number.
    """
    given = request.header(JSON_SIZE_HEADER)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise MalformedRequest(f"Inference-Header-Content-Length: {given[:40]!r} is not a number of bytes")
    return int(given)


def tensor_request(request: DialectRequest, model: ServedModel) -> TensorRequest:
    """Return a request in terms of tensors.

    Raises
    ------
    MalformedRequest, InvalidRequest
        If it cannot be read.
    """
    json_bytes = json_bytes_of(request)
    if json_bytes == 0:
        return raw_request(model, request.size_bytes)
    if json_bytes is not None and json_bytes > request.size_bytes:
        raise MalformedRequest(
            f"Inference-Header-Content-Length is {json_bytes}, and the body has only {request.size_bytes} bytes"
        )
    content = request.body if json_bytes is None else request.body[:json_bytes]
    return described_request(infer_object(content), json_bytes, request.size_bytes)


def described_request(found: InferObject, json_bytes: int | None, size_bytes: int) -> TensorRequest:
    """Return the request that JSON describes.

    Parameters
    ----------
    found:
        The JSON.
    json_bytes:
        Its size, if raw data may follow; otherwise None.
    size_bytes:
        The size of the whole body.

    Raises
    ------
    InvalidRequest
        If its fields contradict each other, or the sizes do not add up.
    """
    end = size_bytes if json_bytes is None else json_bytes
    inputs = []
    for place, given in enumerate(found.inputs):
        raw_bytes = _raw_bytes(given, may_be_raw=json_bytes is not None)
        inputs.append(
            InputTensor(
                name=given.name,
                datatype=given.datatype,
                shape=given.shape,
                size_bytes=raw_bytes,
                place=place if raw_bytes is None else end,
            )
        )
        end += raw_bytes or 0
    if end != size_bytes:
        refuse("inputs", f"the JSON and the raw data have {end} bytes together, and the body has {size_bytes}")
    parameters = found.parameters or {}
    is_binary = _flag(parameters, "binary_data_output", "parameters") or False
    refuse_classes(parameters, "parameters")
    return TensorRequest(
        inputs=inputs,
        outputs=None if not found.outputs else [_wish(given, is_binary=is_binary) for given in found.outputs],
        is_binary=is_binary,
        id=found.id or "",
        parameters=parameters,
        json_bytes=size_bytes if json_bytes is None else json_bytes,
    )


def _raw_bytes(given: InputObject, *, may_be_raw: bool) -> int | None:
    """Return the size of the raw data of an input; None if its data are JSON."""
    where = f"inputs.{given.name[:200]}"
    parameters = given.parameters or {}
    if "shared_memory_region" in parameters:
        refuse(where, "shared memory is not supported; send the data in the body")
    size = parameters.get("binary_data_size")
    has_data = _has_data(given)
    if size is None:
        if not has_data:
            refuse(where, "it has neither data nor a binary_data_size")
        return None
    if type(size) is not int or size < 0:
        refuse(where, "binary_data_size is a whole number of bytes, 0 or more")
    if has_data:
        refuse(where, "it has data, and a binary_data_size as well; leave one out")
    if size and not may_be_raw:
        refuse(where, "it has a binary_data_size, so the request needs the header Inference-Header-Content-Length")
    return size


def _has_data(given: InputObject) -> bool:
    data = given.data
    return isinstance(data, msgspec.Raw) and not (len(memoryview(data)) == len(_NULL) and bytes(data) == _NULL)


def _wish(given: OutputObject, *, is_binary: bool) -> OutputWish:
    where = f"outputs.{given.name[:200]}"
    parameters = given.parameters or {}
    refuse_classes(parameters, where)
    if "shared_memory_region" in parameters:
        refuse(where, "shared memory is not supported; the data are sent in the body")
    wish = _flag(parameters, "binary_data", where)
    return OutputWish(name=given.name, is_binary=is_binary if wish is None else wish)


def _flag(parameters: Mapping[str, Any], name: str, where: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and type(value) is not bool:
        refuse(where, f"{name} is true or false")
    return value


def refuse_classes(parameters: Mapping[str, Any], where: str) -> None:
    """Refuse parameters of a request, or of one of its outputs, that ask for classes.

    Raises
    ------
    InvalidRequest
        If they do.
    """
    if parameters.get("classification"):
        refuse(where, "classification is not supported; ask for the tensor, and sort its values")
