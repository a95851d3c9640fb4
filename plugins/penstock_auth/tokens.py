"""JSON Web Tokens: who signed them, whether they are still good, and whose they are."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from penstock.errors import Unauthorized, Unavailable
from penstock.hooks import Principal
from penstock_auth.jwks import KeySet, KeySource
from penstock_auth.keys import check_name
from penstock_auth.refusals import invalid_credential, unknown_key
from penstock_auth.settings import JwtSettings

if TYPE_CHECKING:
    from jwt import PyJWK

INVALID: Final = "The token is not valid"

_SHAPE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)

# What a caller is told, by the name of what PyJWT raises: its own words may quote the token.
_DESCRIPTIONS: Final = {
    "ExpiredSignatureError": "The token has expired",
    "ImmatureSignatureError": "The token is not valid yet",
    "InvalidAudienceError": "The token is meant for somebody else",
    "InvalidIssuerError": "The token is of another issuer",
    "MissingRequiredClaimError": "The token lacks a claim that is required",
}


class TokenVerifier:
    """Verifies tokens, each only once for as long as it is remembered.

    Parameters
    ----------
    settings:
        What they must be like.
    source:
        The keys.
    clock:
        Seconds since 1970, for what is remembered. PyJWT has the system's clock.
    """

    def __init__(self, settings: JwtSettings, source: KeySource, *, clock: Callable[[], float] = time.time) -> None:
        import jwt  # noqa: PLC0415 - an extra, loaded only where tokens are used

        self._settings = settings
        self._source = source
        self._clock = clock
        self._decode = jwt.decode
        self._header_of = jwt.get_unverified_header
        self._allowed = frozenset(settings.algorithms)

    def principal_of(self, token: str, digest: bytes) -> Principal:
        """Whose token it is.

        Parameters
        ----------
        token:
            What may be one, and is not too long.
        digest:
            Its SHA-256, by which it is remembered.

        Raises
        ------
        Unauthorized
            If it is no good.
        Unavailable
            If that cannot be told yet: the keys are still being fetched.
        """
        keys = self._source.current()
        if keys is None:
            self._check_shape(token)
            raise Unavailable("The keys that tokens are verified with are not there yet.", retry_after=1.0)
        known = keys.verified.get(digest)
        if known is not None and self._clock() < known[1]:
            return known[0]
        self._check_shape(token)
        claims = self._claims(token, self._key_for(token, keys))
        principal = self._principal(claims)
        keys.remember(digest, principal, int(claims["exp"]) + self._settings.leeway)
        return principal

    @staticmethod
    def _check_shape(credential: str) -> None:
        """A token has three parts and a key has not, so that what is neither is called what it was meant to be."""
        if not _SHAPE.fullmatch(credential):
            raise unknown_key()

    def _key_for(self, token: str, keys: KeySet) -> PyJWK:
        """The key that the token names; nothing else of it is believed yet."""
        try:
            header = self._header_of(token)
        except Exception:
            raise invalid_credential(INVALID) from None
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._allowed:
            raise invalid_credential("The token is signed with an algorithm that is not accepted")
        key = keys.find(kid, algorithm)
        if key is not None:
            return key
        if kid is not None and self._source.look_again():
            raise Unavailable("The token names a key that is being looked for.", retry_after=1.0)
        raise invalid_credential("The token is signed with a key that is not known")

    def _claims(self, token: str, key: PyJWK) -> dict[str, Any]:
        settings = self._settings
        try:
            return self._decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=settings.audience or None,
                issuer=settings.issuer,
                leeway=settings.leeway,
                options={"require": ["exp"], "enforce_minimum_key_length": True},
            )
        except Exception as error:
            # Without the cause, so that no traceback can ever show what it says.
            raise invalid_credential(_DESCRIPTIONS.get(type(error).__name__, INVALID)) from None

    def _principal(self, claims: dict[str, Any]) -> Principal:
        name, scopes = claims.get(self._settings.principal_claim), claims.get(self._settings.scope_claim, ())
        if isinstance(scopes, str):
            scopes = scopes.split(" ")
        if not isinstance(scopes, (list, tuple)):
            scopes = ()
        try:
            if isinstance(name, str):
                return Principal(check_name(name), frozenset(s for s in scopes if isinstance(s, str) and s))
        except ValueError:
            pass
        raise _nobody()


def _nobody() -> Unauthorized:
    return invalid_credential("The token does not say whose it is")
