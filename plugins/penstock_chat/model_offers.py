"""Offers of models, and the table in which a request finds the one that it names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from penstock.errors import DeclarationError, NotFound
from penstock.hooks import DialectOffer, Endpoint, near_miss

_MODEL = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")


@dataclass(frozen=True, kw_only=True)
class ModelOffer(DialectOffer):
    """An endpoint as a model of a protocol that names models: the base class of such offers.

    Parameters
    ----------
    model:
        The name of the model. No other offer of its kind has it.
    aliases:
        Further names by which requests may ask for it.
    is_default:
        True if it serves requests that name no model. One offer of a kind may.
    """

    model: str
    aliases: tuple[str, ...] = ()
    is_default: bool = False

    takes: ClassVar[tuple[type, ...]] = ()
    """The types of which the handler must take one."""

    def __post_init__(self) -> None:
        if isinstance(self.aliases, str):
            raise DeclarationError(f"{self}: aliases is a str; write aliases=({self.aliases!r},)")
        object.__setattr__(self, "aliases", tuple(self.aliases))
        for name in self.names:
            if not _MODEL.fullmatch(str(name)):
                raise DeclarationError(f"{self}: {name!r} is not a model's name; use a text without spaces")

    def __str__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r})"

    @property
    def names(self) -> tuple[str, ...]:
        """All names by which requests may ask for it."""
        return (self.model, *self.aliases)

    def check(self, endpoint: Endpoint) -> None:
        """Check that the handler takes the request of such a protocol.

        Raises
        ------
        DeclarationError
            If it does not.
        """
        if endpoint.codec.whole_type not in self.takes:
            names = " or ".join(kind.__name__ for kind in self.takes)
            signature = "predict(self, request" if endpoint.is_class else f"{endpoint.handler.__name__}(request"
            raise DeclarationError(
                f"endpoint {endpoint.name!r}: {self} needs a handler whose one parameter, besides a Context, is a "
                f"{names}; write `def {signature}: {self.takes[0].__name__})`"
            )


OfferT = TypeVar("OfferT", bound=ModelOffer)


class ModelTable(Generic[OfferT]):
    """The offers of one kind, by the names of their models.

    Parameters
    ----------
    offers:
        The offers, each with its endpoint.

    Attributes
    ----------
    offers:
        The same.

    Raises
    ------
    DeclarationError
        If two of them have one name, or if both are the default.
    """

    def __init__(self, offers: Iterable[tuple[Endpoint, OfferT]]) -> None:
        self.offers = list(offers)
        self._by_name: dict[str, tuple[Endpoint, OfferT]] = {}
        self._default: tuple[Endpoint, OfferT] | None = None
        for endpoint, offer in self.offers:
            self._add(endpoint, offer)

    def _add(self, endpoint: Endpoint, offer: OfferT) -> None:
        for name in offer.names:
            other, _ = self._by_name.setdefault(name, (endpoint, offer))
            if self._by_name[name][1] is not offer:
                raise DeclarationError(
                    f"endpoint {endpoint.name!r}: {offer} has the name {name!r}, as endpoint {other.name!r} has; give "
                    "one of them another name"
                )
        if not offer.is_default:
            return
        if self._default is not None:
            raise DeclarationError(
                f"endpoint {endpoint.name!r}: {offer} is the default, as endpoint {self._default[0].name!r} is; remove "
                "is_default=True from one of them"
            )
        self._default = (endpoint, offer)

    @property
    def names(self) -> list[str]:
        """All names by which requests may ask for a model."""
        return list(self._by_name)

    def find(self, name: str | None) -> tuple[Endpoint, OfferT]:
        """Return the offer that a request asks for, with its endpoint; the default if it names no model.

        Raises
        ------
        NotFound
            If there is none; its ``param`` is ``model``.
        """
        if not name and self._default is not None:
            return self._default
        if not name:
            raise NotFound("The request names no model, and there is no default", param="model")
        found = self._by_name.get(name)
        if found is None:
            advice = near_miss(name[:100], self._by_name)
            raise NotFound(f"The model {name[:100]!r} does not exist; {advice}", param="model")
        return found
