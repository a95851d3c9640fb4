"""Who calls."""

from __future__ import annotations

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """Who calls.

    Parameters
    ----------
    name:
        What logs, limits and ``Context.principal`` call it.
    scopes:
        What it may do; what they mean is between the authenticator and the operator.
    """

    name: str
    scopes: frozenset[str] = frozenset()
