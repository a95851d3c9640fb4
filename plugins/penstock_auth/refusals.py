"""The errors for refused callers, after RFC 6750, section 3. They never repeat what the caller sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from penstock.errors import Forbidden, Unauthorized

_BEARER: Final = 'Bearer realm="penstock"'


def no_credential() -> Unauthorized:
    """Return the error for a request without a credential."""
    return Unauthorized(
        "A key is required: send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'.", challenge=_BEARER
    )


def invalid_credential(description: str) -> Unauthorized:
    """Return the error for an invalid credential.

    Parameters
    ----------
    description:
        A constant sentence without quotes, backslashes and a full stop: it is written into a header.
    """
    challenge = f'{_BEARER}, error="invalid_token", error_description="{description}"'
    return Unauthorized(f"{description}.", challenge=challenge)


def unknown_key() -> Unauthorized:
    """Return the error for an unknown key. A revoked key gets the same error, which does not reveal that it existed."""
    return invalid_credential("The key is not known")


def missing_scope(name: str, needed: Iterable[str], *, shown: str) -> Forbidden:
    """Return the error for a known caller who lacks a scope.

    Parameters
    ----------
    name:
        The name of the endpoint or route.
    needed:
        The scopes, for the header.
    shown:
        The scopes as they are shown to a person.
    """
    challenge = f'{_BEARER}, error="insufficient_scope", scope="{" ".join(sorted(needed))}"'
    return Forbidden(f"{name!r} needs the scope {shown}, which the caller does not have.", challenge=challenge)
