"""The dialects of one app, each with the endpoints that it serves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from penstock.app import Endpoint
from penstock.errors import DeclarationError
from penstock.hooks.dialects import Dialect
from penstock.suggestions import near_miss


def served_dialects(offered: Sequence[Dialect], endpoints: Iterable[Endpoint]) -> list[Dialect]:
    """Return the dialects that plug-ins offer and endpoints are declared with, each with all of its endpoints.

    Raises
    ------
    DeclarationError
        If a dialect has no endpoint, or the name of another, or if a name is unknown.
    """
    known = {endpoint.name: endpoint for endpoint in endpoints}
    served: dict[str, Dialect] = {}
    names: dict[str, list[str]] = {}

    def add(dialect: Dialect) -> None:
        if served.setdefault(dialect.name, dialect) is not dialect:
            raise DeclarationError(f"there are two dialects {dialect.name!r}; give one of them another name")
        if dialect.name not in names:
            names[dialect.name] = list(dialect.endpoints)

    for dialect in offered:
        add(dialect)
    for endpoint in known.values():
        for given in endpoint.dialects:
            if isinstance(given, Dialect):
                add(given)
            elif given not in served:
                raise DeclarationError(
                    f"endpoint {endpoint.name!r}: there is no dialect {given!r}; {near_miss(str(given), served)}"
                )
            names[given.name if isinstance(given, Dialect) else given].append(endpoint.name)
    for name, called in names.items():
        for unknown in set(called) - set(known):
            raise DeclarationError(f"dialect {name!r}: there is no endpoint {unknown!r}; {near_miss(unknown, known)}")
        if not called:
            raise DeclarationError(
                f"dialect {name!r} serves no endpoint; name one in its endpoints=, or declare one with "
                f"dialects=[{name!r}]"
            )
    return [replace(dialect, endpoints=tuple(dict.fromkeys(names[name]))) for name, dialect in served.items()]
