"""The settings of authentication: keys, tokens and scopes."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from penstock.hooks import PluginSettings, Secret
from penstock_auth.api_keys import check_scope, keys_in_text

ANY_ENDPOINT: Final = "*"
SHARED_SECRET: Final = frozenset({"HS256", "HS384", "HS512"})
PUBLIC_KEY: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA"}
)
MOST_LEEWAY: Final = 300.0


class JwtSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings for verifying JSON Web Tokens.

    Parameters
    ----------
    algorithms:
        The accepted algorithms, such as ``["RS256"]``: all for public keys or all for shared secrets, never both.
    jwks_file, jwks_url:
        The location of the JSON Web Key Set: exactly one of the two. The URL is ``https``, or ``http`` on this machine.
    issuer:
        The required value of ``iss``; None accepts any.
    audience:
        The accepted values of ``aud``, of which a token must name one. If empty, a token with an ``aud`` is refused.
    leeway:
        The seconds by which the issuer's clock may differ from ours, at most 300.
    principal_claim:
        The claim that holds the principal's name.
    scope_claim:
        The claim that holds the scopes, as a list or as one string separated by spaces.
    cache_seconds:
        The seconds after which the keys at ``jwks_url`` are fetched again.
    refetch_seconds:
        The minimum number of seconds between two fetches, after a failure or when a token names an unknown key.
    fetch_timeout:
        The seconds that a fetch may take.

    Raises
    ------
    ValueError
        If the settings contradict each other, or would be unsafe.
    """

    algorithms: tuple[str, ...]
    jwks_file: str | None = None
    jwks_url: str | None = None
    issuer: str | None = None
    audience: tuple[str, ...] = ()
    leeway: float = 10.0
    principal_claim: str = "sub"
    scope_claim: str = "scope"
    cache_seconds: float = 300.0
    refetch_seconds: float = 30.0
    fetch_timeout: float = 5.0

    def __post_init__(self) -> None:
        self._check_algorithms()
        if bool(self.jwks_file) == bool(self.jwks_url):
            raise ValueError("jwt needs its keys from one place: set either jwks_file or jwks_url")
        if self.jwks_url:
            _check_url(self.jwks_url)
            if SHARED_SECRET.intersection(self.algorithms):
                raise ValueError("jwt: shared secrets (HS256, HS384, HS512) are not fetched; put them into jwks_file")
        if not 0 <= self.leeway <= MOST_LEEWAY:
            raise ValueError(f"jwt: leeway must be from 0 to {MOST_LEEWAY:g} seconds, not {self.leeway:g}")
        if "" in (*self.audience, self.issuer, self.principal_claim, self.scope_claim):
            raise ValueError("jwt: audience, issuer, principal_claim and scope_claim must not be empty strings")
        for name in ("cache_seconds", "refetch_seconds", "fetch_timeout"):
            # Infinity would allow a fetch that never ends, or keys that are never fetched again.
            if not 0 < getattr(self, name) < 10**7:
                raise ValueError(f"jwt: {name} must be a positive number of seconds, not {getattr(self, name):g}")

    def _check_algorithms(self) -> None:
        if not self.algorithms:
            raise ValueError('jwt: algorithms must name the accepted algorithms, such as ["RS256"]')
        for name in self.algorithms:
            if name not in SHARED_SECRET | PUBLIC_KEY:
                known = ", ".join(sorted(SHARED_SECRET | PUBLIC_KEY))
                raise ValueError(f"jwt: algorithm {name!r} is not supported; use one of: {known}")
        if SHARED_SECRET.intersection(self.algorithms) and PUBLIC_KEY.intersection(self.algorithms):
            # If both are allowed, and a public key is used as a shared secret, anyone can sign tokens.
            raise ValueError("jwt: algorithms must be all for public keys or all for shared secrets; remove one kind")


class AuthSettings(PluginSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of authentication. With neither keys nor tokens, any caller may call every endpoint.

    Parameters
    ----------
    keys_file:
        The key file, written by ``penstock keys``. It is read again when it has changed.
    keys:
        Further keys, meant for the environment: ``alice=KEY,bob:math+operator=sha256:DIGEST``.
    scopes:
        For each endpoint, by name, the scopes that a caller needs, all of them. ``*`` applies to all other endpoints.
    operator_scope:
        The scope that allows all routes other than endpoints.
    observer_scope:
        The scope for read-only access: it allows the routes with the method GET, such as ``/metrics``.
    jwt:
        The settings for verifying tokens; None if tokens are not accepted.

    Raises
    ------
    ValueError
        If the settings contradict each other.
    """

    keys_file: str | None = None
    keys: Secret | None = None
    scopes: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    operator_scope: str = "operator"
    observer_scope: str = "observer"
    jwt: JwtSettings | None = None

    def __post_init__(self) -> None:
        # A variable that is set but empty is a secret that failed to arrive. It must not turn authentication off.
        if self.keys_file is not None and not self.keys_file.strip():
            raise ValueError("keys_file is empty; set it to a path, or remove the setting")
        if self.keys is not None and not keys_in_text(self.keys):
            raise ValueError("keys is empty; give at least one as NAME=KEY, or remove the setting")
        if self.scopes and not self.is_on:
            raise ValueError("scopes are set but no caller can have one; set keys_file, keys or jwt")
        for scope in (self.operator_scope, self.observer_scope, *(s for some in self.scopes.values() for s in some)):
            check_scope(scope)

    @property
    def is_on(self) -> bool:
        """True if callers must authenticate."""
        return self.takes_keys or self.jwt is not None

    @property
    def takes_keys(self) -> bool:
        """True if API keys are accepted."""
        return self.keys_file is not None or self.keys is not None


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("jwt: jwks_url must not contain a password, which could end up in the log")
    if not parts.hostname:
        raise ValueError(f"jwt: jwks_url {url!r} names no host")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(parts.hostname)):
        raise ValueError(f"jwt: jwks_url {url!r} must begin with https://; http:// is allowed for this machine only")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
