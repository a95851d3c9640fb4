"""How a caller is refused: RFC 6750, section 3. Nothing that was presented is repeated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from penstock.errors import Forbidden, Unauthorized

_BEARER: Final = 'Bearer realm="penstock"'


def no_credential() -> Unauthorized:
    """Nobody has said who calls."""
    return Unauthorized(
        "This needs a key: send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'.", challenge=_BEARER
    )


def invalid_credential(description: str) -> Unauthorized:
    """What was presented is no good. The description is a fixed sentence, without quotes, backslashes and full stop."""
    challenge = f'{_BEARER}, error="invalid_token", error_description="{description}"'
    return Unauthorized(f"{description}.", challenge=challenge)


def unknown_key() -> Unauthorized:
    """It may have been one once: of those that were revoked no more is said."""
    return invalid_credential("The key is not known")


def missing_scope(what: str, needed: Iterable[str], *, said: str) -> Forbidden:
    """The caller is known, and may not do this.

    Parameters
    ----------
    what:
        The endpoint or the route.
    needed:
        The scopes for the header.
    said:
        Which of them are missing, for a person.
    """
    challenge = f'{_BEARER}, error="insufficient_scope", scope="{" ".join(sorted(needed))}"'
    return Forbidden(f"{what!r} needs the scope {said}, which the caller has not got.", challenge=challenge)
