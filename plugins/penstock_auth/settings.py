"""What an operator can say about keys, tokens and scopes."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from penstock.hooks import PluginSettings, Secret
from penstock_auth.keys import check_scope, keys_in_text

ANY_ENDPOINT: Final = "*"
SHARED_SECRET: Final = frozenset({"HS256", "HS384", "HS512"})
PUBLIC_KEY: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA"}
)
MOST_LEEWAY: Final = 300.0


class JwtSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How JSON Web Tokens are verified.

    Parameters
    ----------
    algorithms:
        Those that are accepted, such as ``["RS256"]``. Either of public keys or of shared secrets, never both.
    jwks_file, jwks_url:
        Where the keys are, as a JSON Web Key Set: one of the two. The URL is ``https``, or ``http`` on this machine.
    issuer:
        What ``iss`` must be; None: anything.
    audience:
        What ``aud`` must name one of. If there is none, a token that names any is refused.
    leeway:
        By how many seconds the issuer's clock may differ from ours, at most 300.
    principal_claim:
        Which claim is the principal's name.
    scope_claim:
        Which claim has the scopes: a list, or one string with spaces.
    cache_seconds:
        After how many seconds the keys of a URL are fetched again.
    refetch_seconds:
        How many seconds lie between two fetches at least, when one has failed or a token names a key that is not known.
    fetch_timeout:
        How many seconds a fetch may take.

    Raises
    ------
    ValueError
        For what does not fit together, or would be unsafe.
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
            raise ValueError("jwt needs its keys from one place: give either jwks_file or jwks_url")
        if self.jwks_url:
            _check_url(self.jwks_url)
            if SHARED_SECRET.intersection(self.algorithms):
                raise ValueError("jwt: shared secrets (HS256 and the like) are not fetched; give them in jwks_file")
        if not 0 <= self.leeway <= MOST_LEEWAY:
            raise ValueError(f"jwt: leeway must be from 0 to {MOST_LEEWAY:g} seconds, not {self.leeway:g}")
        if "" in (*self.audience, self.issuer, self.principal_claim, self.scope_claim):
            raise ValueError("jwt: audience, issuer, principal_claim and scope_claim must not be empty text")
        for name in ("cache_seconds", "refetch_seconds", "fetch_timeout"):
            # Infinity would mean a fetch that never ends, or keys that are never looked at again.
            if not 0 < getattr(self, name) < 10**7:
                raise ValueError(f"jwt: {name} must be a positive number of seconds, not {getattr(self, name):g}")

    def _check_algorithms(self) -> None:
        if not self.algorithms:
            raise ValueError('jwt: algorithms must name those that are accepted, such as ["RS256"]')
        for name in self.algorithms:
            if name not in SHARED_SECRET | PUBLIC_KEY:
                known = ", ".join(sorted(SHARED_SECRET | PUBLIC_KEY))
                raise ValueError(f"jwt: algorithm {name!r} is not accepted; there are: {known}")
        if SHARED_SECRET.intersection(self.algorithms) and PUBLIC_KEY.intersection(self.algorithms):
            # Where both are allowed, a public key that is taken for a shared secret lets everybody sign.
            raise ValueError("jwt: algorithms must be all of public keys or all of shared secrets; take one kind away")


class AuthSettings(PluginSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may call what. With neither keys nor tokens, everybody may call everything.

    Parameters
    ----------
    keys_file:
        The file that ``penstock keys`` writes to. It is read again when it has changed.
    keys:
        More keys, for the environment: ``alice=KEY,bob:math+operator=sha256:DIGEST``.
    scopes:
        For each endpoint, by its name, the scopes that a caller needs, all of them; ``*`` is for those not named.
    operator_scope:
        The scope that all routes beside the endpoints are open to.
    observer_scope:
        A scope for those that only look: it opens the routes that are asked by GET, such as ``/metrics``.
    jwt:
        How tokens are verified; None: there are none.

    Raises
    ------
    ValueError
        For what does not fit together.
    """

    keys_file: str | None = None
    keys: Secret | None = None
    scopes: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    operator_scope: str = "operator"
    observer_scope: str = "observer"
    jwt: JwtSettings | None = None

    def __post_init__(self) -> None:
        # A variable that is there and empty is a secret that did not arrive, and must not open the doors.
        if self.keys_file is not None and not self.keys_file.strip():
            raise ValueError("keys_file is empty; name a file, or take the setting away")
        if self.keys is not None and not keys_in_text(self.keys):
            raise ValueError("keys is empty; give at least one as NAME=KEY, or take the setting away")
        if self.scopes and not self.is_on:
            raise ValueError("there are scopes but nobody can have any; give keys_file, keys or jwt")
        for scope in (self.operator_scope, self.observer_scope, *(s for some in self.scopes.values() for s in some)):
            check_scope(scope)

    @property
    def is_on(self) -> bool:
        """Whether callers are asked who they are."""
        return self.keys_file is not None or self.keys is not None or self.jwt is not None


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("jwt: jwks_url must not have a password in it: it is logged when it cannot be fetched")
    if not parts.hostname:
        raise ValueError(f"jwt: jwks_url {url!r} names no host")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(parts.hostname)):
        raise ValueError(f"jwt: jwks_url {url!r} must begin with https://; http:// is for this machine alone")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
