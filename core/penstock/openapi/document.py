"""The document as a whole. ``documentation_routes`` imports this module when it is first asked for it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any, Final

from penstock.app import App
from penstock.hooks.registry import Registry
from penstock.openapi.described_operations import dialect_operations, route_operations
from penstock.openapi.endpoint_operations import (
    OTHER_ERRORS,
    EndpointSchemas,
    operation,
    operation_ids,
    parameters,
    security_of,
    security_schemes,
    statuses_of,
)
from penstock.openapi.error_responses import HEADERS, PROBLEM_NAME, error_responses, other_errors, problem_schema
from penstock.openapi.schema_components import SchemaComponents
from penstock.openapi.schema_digests import DIGEST, add_digests

OPENAPI_VERSION: Final = "3.1.0"


def build_document(app: App, registry: Registry, server: str) -> dict[str, Any]:
    """Return the OpenAPI document of an app.

    Parameters
    ----------
    app:
        The app.
    registry:
        Its plug-ins.
    server:
        The URL of the server, absolute or relative to the document.
    """
    endpoints = app.endpoints
    components = SchemaComponents({PROBLEM_NAME: problem_schema()})
    schemas = {endpoint.name: EndpointSchemas(endpoint, components) for endpoint in endpoints}
    described = {endpoint.name: registry.descriptions(endpoint) for endpoint in endpoints}
    ids = operation_ids(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        name = endpoint.name
        found = operation(endpoint, schemas[name], described[name], ids[name])
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = found
    for dialect in registry.dialects(app):
        security = security_of([described[name] for name in dialect.endpoints])
        for path, method, found in dialect_operations(dialect, security):
            paths.setdefault(path, {}).setdefault(method, found)
    # A route for callers needs the credentials of the endpoints, whatever their scopes.
    security = [{name: [] for name in each} for each in security_of(described.values())]
    for path, method, found in route_operations(registry.routes(app), security):
        paths.setdefault(path, {}).setdefault(method, found)
    statuses = {status for name, some in described.items() for status in statuses_of(schemas[name], some)}
    schemes = security_schemes(described.values())
    document = {
        "openapi": OPENAPI_VERSION,
        "info": _info(app),
        "servers": [{"url": server}],
        "security": [],  # an operation that needs credentials says so itself
        "tags": [{"name": name} for name in _tags_in(paths)],
        "paths": paths,
        "components": {
            "schemas": components.schemas(),
            "responses": {**error_responses(statuses), OTHER_ERRORS: other_errors()},
            "parameters": parameters(description for some in described.values() for description in some),
            "headers": {name: header for name, (_, header) in HEADERS.items() if _is_used(name, statuses)},
            **({"securitySchemes": schemes} if schemes else {}),
        },
        DIGEST: "",
    }
    add_digests(document)
    return document


def _tags_in(paths: dict[str, dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(tag for some in paths.values() for each in some.values() for tag in each["tags"]))


def _info(app: App) -> dict[str, Any]:
    module = sys.modules.get(app.import_name)
    text = "" if module is None else inspect.cleandoc(module.__doc__ or "")
    return {
        "title": app.title or _name_of(app.import_name, module),
        "version": app.version,
        **({"description": text} if text else {}),
    }


def _name_of(import_name: str, module: Any) -> str:
    """Return the name of the app's module: that of its file, for a program that is run by its path."""
    path = getattr(module, "__file__", None)
    return PurePath(path).stem if import_name == "__main__" and path else import_name


def _is_used(name: str, statuses: Iterable[int]) -> bool:
    return name != "Challenge" or 401 in statuses
