"""The operations of dialects, and the routes, that describe themselves, as the document shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from penstock.hooks.dialects import Dialect, Operation
from penstock.hooks.routes import Route
from penstock.openapi.schema_components import cleaned

_VARIABLE = re.compile(r"\{(\w+)(?::path)?\}")


def dialect_operations(
    dialect: Dialect, security: list[dict[str, list[str]]]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the method and the description of each operation that has one.

    Parameters
    ----------
    dialect:
        The dialect.
    security:
        The credentials that its endpoints need.
    """
    for operation in dialect.operations:
        if operation.description is not None:
            yield (
                _VARIABLE.sub(r"{\1}", operation.path),
                operation.method.lower(),
                _described(dialect.name, operation, security),
            )


def route_operations(
    routes: Iterable[Route], security: list[dict[str, list[str]]]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the method and the description of each route that has one.

    Parameters
    ----------
    routes:
        The routes.
    security:
        The credentials that those for callers need.
    """
    for route in routes:
        if route.description is not None:
            described = _described(route.name, route, [] if route.is_open else security)
            described["operationId"] = cleaned(route.name)
            yield _VARIABLE.sub(r"{\1}", route.path), route.method.lower(), described


def _described(name: str, operation: Operation | Route, security: list[dict[str, list[str]]]) -> dict[str, Any]:
    own = dict(operation.description or {})
    known = {(each.get("in"), each.get("name")) for each in own.get("parameters", ())}
    variables = [
        {"in": "path", "name": name, "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _VARIABLE.findall(operation.path)
        if ("path", name) not in known
    ]
    words = [name, operation.method.lower(), *re.findall(r"\w+", operation.path.replace(":path", ""))]
    return {
        "operationId": cleaned("_".join(words)),
        "tags": [name],
        **({"security": security} if security else {}),
        "responses": {"default": {"description": "An answer, or an error."}},
        **own,
        "parameters": [*variables, *own.get("parameters", ())],
    }
