"""Offers: an endpoint's part in a dialect that a plug-in makes of many endpoints."""

from __future__ import annotations

from typing import ClassVar

from penstock.app.endpoints import Endpoint


class DialectOffer:
    """An endpoint's part in a dialect, as an item of ``endpoint(dialects=[...])``.

    Some interfaces serve many endpoints under one path, and the body says which one is meant. A plug-in defines a
    subclass for what each endpoint has to say about itself, such as the name of its model. When the server starts, the
    plug-in takes all offers of the app together (see ``offers_of``), and returns dialects that serve them.

    Attributes
    ----------
    gatherer:
        The name of the plug-in that takes the offers of this class.
    """

    gatherer: ClassVar[str]

    def check(self, endpoint: Endpoint) -> None:
        """Check the endpoint that is declared with this offer; raise ``DeclarationError`` if it does not fit."""
