"""Digests of what clients are generated from, by which a client and a server see that they have the same schema.

Texts do not count, and neither do headers and errors: a client whose digest differs may send or expect something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from penstock.openapi.schema_components import COMPONENTS

DIGEST: Final = "x-penstock-schema"
"""The member of the document, and of each operation, that has its digest."""

_TEXTS: Final = {"description", "examples", "summary", "title"}
# In these, the keys are names that the app has chosen.
_NAMED: Final = {"$defs", "content", "dependentSchemas", "encoding", "mapping", "patternProperties", "properties"}
_LITERAL: Final = {"const", "default", "enum"}


def add_digests(document: dict[str, Any]) -> None:
    """Add the digest of each of the app's operations to it, and that of all of them to the document.

    Parameters
    ----------
    document:
        The document. The operations of dialects have no digest, and do not count: their clients exist already.
    """
    schemas = document["components"]["schemas"]
    digests = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if DIGEST in operation:
                operation[DIGEST] = _digest([method, path, _shape(operation), _referred(_shape(operation), schemas)])
                digests.append([operation["operationId"], operation[DIGEST]])
    document[DIGEST] = _digest(sorted(digests))


def _shape(operation: Mapping[str, Any]) -> Any:
    """Return the parts of an operation that a client is generated from."""
    inputs = [each for each in operation["parameters"] if "$ref" not in each]  # the others are headers
    response = operation["responses"]["200"]
    return _without_texts([inputs, operation.get("requestBody"), response["content"], operation.get("x-stream", False)])


def _without_texts(value: Any, *, has_names: bool = False) -> Any:
    if isinstance(value, list):
        return [_without_texts(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: each if key in _LITERAL and not has_names else _without_texts(each, has_names=key in _NAMED)
        for key, each in value.items()
        if has_names or key not in _TEXTS
    }


def _referred(shape: Any, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the components that a shape refers to, and those that they refer to, by name."""
    found: dict[str, Any] = {}
    waiting = [shape]
    while waiting:
        for name in _references_in(waiting.pop()):
            if name not in found:
                found[name] = _without_texts(schemas[name])
                waiting.append(found[name])
    return found


def _references_in(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _references_in(each)
    elif isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith(COMPONENTS):
            yield reference.removeprefix(COMPONENTS)
        for each in value.values():
            yield from _references_in(each)


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, enc_hook=str, order="deterministic")).hexdigest()[:16]
