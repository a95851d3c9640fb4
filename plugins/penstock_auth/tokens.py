"""The verification of JSON Web Tokens: their signature, their lifetime and their principal."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from penstock.errors import Unavailable
from penstock.hooks import Principal
from penstock_auth.api_keys import check_name
from penstock_auth.auth_settings import JwtSettings
from penstock_auth.jwks import KeySet, KeySource
from penstock_auth.refusals import invalid_credential, unknown_key

if TYPE_CHECKING:  # PyJWT is an extra, loaded only where tokens are used
    from jwt import PyJWK

INVALID: Final = "The token is not valid"

_SHAPE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)

# The description for the caller, by the name of PyJWT's exception. PyJWT's own messages may quote the token.
_DESCRIPTIONS: Final = {
    "ExpiredSignatureError": "The token has expired",
    "ImmatureSignatureError": "The token is not valid yet",
    "InvalidAudienceError": "The token is for another audience",
    "InvalidIssuerError": "The token is from another issuer",
    "MissingRequiredClaimError": "The token lacks a required claim",
}


class TokenVerifier:
    """A verifier of tokens that verifies each token once and then remembers it.

    Parameters
    ----------
    settings:
        The requirements for tokens.
    source:
        The source of the keys.
    clock:
        The wall clock, in seconds since 1970, for the expiry of remembered tokens. PyJWT uses the system's clock.
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
        """Return the principal of a token.

        Parameters
        ----------
        token:
            The credential that may be a token, already limited in length.
        digest:
            The SHA-256 digest of the token, by which it is remembered.

        Raises
        ------
        Unauthorized
            If the token is not valid.
        Unavailable
            If the token cannot be verified yet: the keys are still being fetched.
        """
        keys = self._source.current()
        if keys is None:
            self._check_shape(token)
            raise Unavailable("The keys for verifying tokens have not been fetched yet.", retry_after=1.0)
        known = keys.verified.get(digest)
        if known is not None and self._clock() < known[1]:
            return known[0]
        self._check_shape(token)
        claims = self._claims(token, self._key_for(token, keys))
        principal = self._principal(claims)
        try:
            expires = float(int(claims["exp"])) + self._settings.leeway
        except OverflowError:  # JSON has larger numbers than any clock
            raise invalid_credential(INVALID) from None
        keys.remember(digest, principal, expires)
        return principal

    @staticmethod
    def _check_shape(credential: str) -> None:
        """Raise the error for an unknown key if the credential is not shaped like a token, which has three parts."""
        if not _SHAPE.fullmatch(credential):
            raise unknown_key()

    def _key_for(self, token: str, keys: KeySet) -> PyJWK:
        """Return the key that the token names. Nothing else in the token is trusted at this point."""
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
            raise Unavailable("The token names an unknown key; the keys are being fetched again.", retry_after=1.0)
        raise invalid_credential("The token is signed with an unknown key")

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
            # Without the cause, so that a traceback can never show its message.
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
        raise invalid_credential("The token does not name a principal")
