"""The dialects of one app, each with the endpoints that it serves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from penstock.app import App, DialectOffer, Endpoint
from penstock.errors import DeclarationError
from penstock.hooks.dialects import Dialect
from penstock.suggestions import near_miss

OfferT = TypeVar("OfferT", bound=DialectOffer)


def offers_of(app: App, kind: type[OfferT]) -> list[tuple[Endpoint, OfferT]]:
    """Return the offers of a class that the endpoints of an app are declared with, each with its endpoint.

    A plug-in calls it in its ``penstock_dialects``, and names the endpoints in the ``endpoints`` of its dialects.

    Parameters
    ----------
    app:
        The app.
    kind:
        The class of the offers; those of its subclasses are included.
    """
    return [(endpoint, given) for endpoint in app.endpoints for given in endpoint.dialects if isinstance(given, kind)]


def served_dialects(
    offered: Sequence[Dialect], endpoints: Iterable[Endpoint], gatherers: Collection[str] = ()
) -> list[Dialect]:
    """Return the dialects that plug-ins offer and endpoints are declared with, each with all of its endpoints.

    Parameters
    ----------
    offered:
        The dialects of plug-ins.
    endpoints:
        The endpoints of the app.
    gatherers:
        The names of the plug-ins in use: those that have gathered the offers of the endpoints.

    Raises
    ------
    DeclarationError
        If a dialect has no endpoint, or the name of another, if a name is unknown, or if the plug-in of an offer is not
        in use.
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
            if isinstance(given, DialectOffer):
                _require_gatherer(endpoint, given, gatherers)
                continue
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


def _require_gatherer(endpoint: Endpoint, offer: DialectOffer, gatherers: Collection[str]) -> None:
    if offer.gatherer not in gatherers:
        kind = type(offer).__name__
        raise DeclarationError(
            f"endpoint {endpoint.name!r}: {kind} belongs to the plug-in {offer.gatherer!r}, which is not in use; "
            f"install it and switch it on, or remove {kind} from dialects="
        )
