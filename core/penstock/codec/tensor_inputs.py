"""Tensors among the inputs of a handler."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from msgspec.structs import astuple

from penstock.codec.signature import Parameter, Signature
from penstock.codec.tensor_types import is_twin, readable, tensor_fields, tensor_of
from penstock.codec.tensors import Tensor
from penstock.errors import DeclarationError


def with_tensors(signature: Signature, *, owner: str) -> Signature:
    """Return a signature with what msgspec reads in the place of tensors.

    Raises
    ------
    DeclarationError
        If a class with tensors is one of several parameters, or cannot be read.
    """
    parameters = tuple(_readable(parameter, owner) for parameter in signature.parameters)
    if len(parameters) > 1:
        for parameter in parameters:
            if is_twin(_item_of(parameter.annotation)):
                raise DeclarationError(
                    f"{owner}, parameter `{parameter.name}`: a class with tensors is the whole body; make it the only "
                    "parameter besides the Context, or take its tensors as parameters"
                )
    return replace(signature, parameters=parameters)


def _readable(parameter: Parameter, owner: str) -> Parameter:
    annotation = readable(parameter.annotation, owner=f"{owner}, parameter `{parameter.name}`")
    return parameter if annotation is parameter.annotation else replace(parameter, annotation=annotation)


def _item_of(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is list else annotation


def tensor_inputs(signature: Signature) -> dict[str, Tensor]:
    """Return the tensors that a handler takes, by name: parameters, or the fields of the class that is the body."""
    annotations = {parameter.name: parameter.annotation for parameter in signature.parameters}
    if len(annotations) == 1:
        (annotation,) = annotations.values()
        if is_twin(annotation):
            return tensor_fields(annotation.record)
    found = {name: tensor_of(annotation) for name, annotation in annotations.items()}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def joins_tensors(signature: Signature) -> bool:
    """Return whether a batching handler takes arrays that are joined, and not a list with one for each request."""
    return bool(signature.parameters) and all(
        is_twin(parameter.annotation) or tensor_of(parameter.annotation) is not None
        for parameter in signature.parameters
    )


def record_of(signature: Signature) -> Any:
    """Return the class with tensors that is the whole body, or None."""
    if len(signature.parameters) != 1:
        return None
    (parameter,) = signature.parameters
    return parameter.annotation.record if is_twin(parameter.annotation) else None


def arrays_reader(names: list[str], record: Any) -> Callable[[Any], dict[str, Any]]:
    """Return a function from a decoded input to its arrays by name, without those that are missing.

    Parameters
    ----------
    names:
        The names of the tensors: all parameters, or all fields of the class.
    record:
        The class that is the whole body; None if there is none.
    """

    def of_record(decoded: Any) -> dict[str, Any]:
        is_mapping = isinstance(decoded, Mapping)  # a TypedDict
        pairs = decoded.items() if is_mapping else ((name, getattr(decoded, name)) for name in names)
        return {name: array for name, array in pairs if array is not None}

    def of_fields(decoded: Any) -> dict[str, Any]:
        pairs = zip(names, astuple(decoded), strict=True)
        return {name: array for name, array in pairs if array is not None}

    return of_fields if record is None else of_record
