"""The caller, as the authenticator identified it."""

from __future__ import annotations

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller.

    Parameters
    ----------
    name:
        The name that logs, limits and ``Context.principal`` use for the caller.
    scopes:
        The caller's permissions. Their meaning is up to the authenticator and the operator.
    """

    name: str
    scopes: frozenset[str] = frozenset()
