"""The schema of a Penstock server, as its OpenAPI document has it: the endpoints, their limits and their digests."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from penstock_client.errors import NotFound

SCHEMA_HEADER: Final = "x-penstock-schema"
SCHEMA_PATH: Final = "openapi.json"
SCHEMA_SECONDS: Final = 2.0
"""The most time for reading the document, which only improves messages."""
SECONDS_BETWEEN_READS: Final = 60.0

_MOST_NAMED: Final = 20
_NOTHING_THERE: Final = "Nothing is served at "  # the server's words; a handler's own NotFound has others


@dataclass(frozen=True)
class SchemaDigests:
    """The schema from which a typed client was generated.

    Attributes
    ----------
    digest:
        The digest of all endpoints, which is sent with each request.
    endpoints:
        The digest of each endpoint, by its name.
    source:
        The command that generates the client again, for messages.
    """

    digest: str
    endpoints: Mapping[str, str]
    source: str = "penstock client"


@dataclass(frozen=True)
class ServedEndpoint:
    """An endpoint of a server."""

    path: str
    method: str
    digest: str
    limits: Mapping[str, float]

    @property
    def limit(self) -> float:
        """The seconds after which the server ends a call at the latest; ``math.inf`` if it does not."""
        if "total" in self.limits:
            return self.limits["total"]
        return self.limits.get("queue", math.inf) + self.limits.get("execution", math.inf)


@dataclass(frozen=True)
class ServerSchema:
    """The endpoints of a server, by name."""

    digest: str
    endpoints: Mapping[str, ServedEndpoint]

    def at(self, path: str, method: str) -> ServedEndpoint | None:
        """Return the endpoint at a path, which is written as in a call."""
        wanted = path.strip("/"), method
        return next((each for each in self.endpoints.values() if (each.path, each.method) == wanted), None)


@dataclass
class KnownSchema:
    """The part of a client's state that is about the server's schema.

    Attributes
    ----------
    schema:
        The schema, as it was read last; None if the server does not serve its document.
    limits:
        The limit of each endpoint that was asked for, by its path, in seconds.
    said:
        The messages that were logged, each of which is logged once.
    """

    schema: ServerSchema | None = None
    limits: dict[str, float] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    _next_read: float = float("-inf")

    def begin_read(self, now: float) -> bool:
        """Return whether the document is to be read, and have others use the present one in the meantime."""
        if now < self._next_read:
            return False
        self._next_read = now + SECONDS_BETWEEN_READS
        return True

    def is_first(self, message: str) -> bool:
        """Return whether a message, or one of its kind, has not been logged yet."""
        if message in self.said:
            return False
        self.said.add(message)
        return True


def schema_in(document: Any) -> ServerSchema | None:
    """Return the schema in an OpenAPI document; None if it is not that of a Penstock server."""
    digest = document.get(SCHEMA_HEADER) if isinstance(document, dict) else None
    if not isinstance(digest, str):
        return None
    try:
        return ServerSchema(digest, dict(_endpoints_in(document["paths"])))
    except (AttributeError, KeyError, TypeError):
        return None


def _endpoints_in(paths: Mapping[str, Any]) -> Iterator[tuple[str, ServedEndpoint]]:
    for path, operations in paths.items():
        for method, operation in operations.items():
            if SCHEMA_HEADER in operation:
                limits = operation.get("x-penstock-timeouts", {})
                served = ServedEndpoint(path.strip("/"), method.upper(), operation[SCHEMA_HEADER], limits)
                yield operation["operationId"], served


def is_unknown_endpoint(error: Exception) -> bool:
    """Return whether an error says that a Penstock server has no such path."""
    return isinstance(error, NotFound) and error.server_message.startswith(_NOTHING_THERE)


def unknown_endpoint(server: str, endpoint: str, schema: ServerSchema | None) -> str:
    """Return the message for an endpoint that a server does not have."""
    said = f"404: {server} has no endpoint {endpoint!r}"
    if schema is None:
        return f"{said}; `penstock check` lists those of an app"
    paths = sorted({each.path for each in schema.endpoints.values()})
    near = difflib.get_close_matches(endpoint, paths, n=1)
    others = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    meant = f"; did you mean {near[0]!r}?" if near else ";"
    return f"{said}{meant} it has {', '.join(map(repr, paths[:_MOST_NAMED]))}{others}".replace("? it", "? It")


def changed_schema(expected: SchemaDigests, digest: str, schema: ServerSchema | None) -> str:
    """Return the message for a server whose schema is not the one that a client was generated from."""
    names = _changes(expected, schema) if schema is not None and schema.digest == digest else ""
    return (
        f"the server's schema is not the one that this client was generated from ({digest}, not {expected.digest})"
        f"{': ' if names else ''}{names}; generate the client again with {expected.source}"
    )


def _changes(expected: SchemaDigests, schema: ServerSchema) -> str:
    before, now = expected.endpoints, {name: each.digest for name, each in schema.endpoints.items()}
    groups = {
        "changed": sorted(name for name in before.keys() & now.keys() if before[name] != now[name]),
        "removed": sorted(before.keys() - now.keys()),
        "added": sorted(now.keys() - before.keys()),
    }
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in groups.items() if names)


def longer_than_server(endpoint: str, seconds: float, limit: float) -> str:
    """Return the message for a time-out that is longer than the endpoint's own limit."""
    return (
        f"{endpoint}: the time-out of {seconds:g} s is longer than the {limit:g} s after which the server ends a call; "
        "change the endpoint's timeouts, or this one"
    )
