"""The inputs and results of a handler in terms of the protocol: tensors, and plain values from the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from penstock.errors import DeclarationError
from penstock.hooks import Endpoint

_PLAIN_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "null"})


def plain_parameters(endpoint: Endpoint) -> dict[str, bool]:
    """Return the parameters of a handler that are not tensors, each with whether it is required.

    They are read from the ``parameters`` of a request.
    """
    tensors = endpoint.codec.tensors.inputs
    return {field.name: field.required for field in endpoint.codec.form_fields if field.name not in tensors}


def required_tensors(endpoint: Endpoint) -> frozenset[str]:
    """Return the names of the tensors that every request has to have."""
    tensors = endpoint.codec.tensors.inputs
    return frozenset(field.name for field in endpoint.codec.form_fields if field.required and field.name in tensors)


def require_tensors(endpoint: Endpoint, owner: str) -> None:
    """Check that a handler can be a model: it takes tensors, and returns nothing else.

    Raises
    ------
    DeclarationError
        If it does not; has the fix.
    """
    codec = endpoint.codec
    if endpoint.is_stream:
        raise DeclarationError(
            f"{owner} cannot stream; return the tensors of the whole answer instead of yielding them"
        )
    if codec.has_values:
        raise DeclarationError(
            f"{owner} takes all of its input from the body; remove the variables from the path, and use POST"
        )
    if not codec.tensors.inputs:
        raise DeclarationError(
            f"{owner} needs tensors as inputs; annotate a parameter, for instance "
            '`x: Annotated[numpy.ndarray, Tensor("FP32", [-1, 4])]`'
        )
    _require_plain_rest(endpoint, owner)
    _require_tensor_results(endpoint, owner)


def _require_plain_rest(endpoint: Endpoint, owner: str) -> None:
    for field in endpoint.codec.form_fields:
        if field.name not in endpoint.codec.tensors.inputs and not _is_plain(field.schema):
            raise DeclarationError(
                f"{owner}: `{field.name}` is not a tensor, so it is one of the request's parameters, which are text, "
                "numbers and booleans; annotate it as one of these, or as a Tensor"
            )


def _require_tensor_results(endpoint: Endpoint, owner: str) -> None:
    results = endpoint.codec.tensors.results
    if not results:
        raise DeclarationError(
            f"{owner} needs tensors as results; annotate the result, for instance "
            '`-> Annotated[numpy.ndarray, Tensor("FP32", [-1, 3])]`'
        )
    others = [name for name in endpoint.codec.output_schema().get("properties", {}) if name not in results]
    if others:
        raise DeclarationError(
            f"{owner}: the field `{others[0]}` of the result is not a tensor; annotate it as one, or return a class "
            "without it"
        )


def _is_plain(schema: Mapping[str, Any]) -> bool:
    return all(kind in _PLAIN_TYPES for kind in _types_of(schema))


def _types_of(schema: Mapping[str, Any]) -> Iterable[str]:
    if "anyOf" in schema:
        return [kind for option in schema["anyOf"] for kind in _types_of(option)]
    if "enum" in schema or "const" in schema:
        return []
    kinds = schema.get("type", "any")
    return kinds if isinstance(kinds, list) else [kinds]
