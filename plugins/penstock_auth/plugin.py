"""The plug-in: it authenticates callers and offers ``penstock keys``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from hmac import compare_digest
from typing import Any, Final, TypeAlias

from penstock.errors import Forbidden, PluginError, Unauthorized
from penstock.hooks import (
    App,
    Endpoint,
    EndpointDescription,
    Principal,
    Route,
    Submission,
    hookimpl,
    require_endpoints,
)
from penstock_auth.api_keys import KeyRing, digest_of, keys_in_text
from penstock_auth.auth_settings import ANY_ENDPOINT, AuthSettings, JwtSettings
from penstock_auth.fetching import fetch
from penstock_auth.jwks import FetchedKeys, KeySet, KeySource, parse_key_set, require_library
from penstock_auth.keyfile import keys_in
from penstock_auth.refusals import invalid_credential, missing_scope, no_credential, unknown_key
from penstock_auth.tokens import TokenVerifier
from penstock_auth.watching import WatchedFile

MOST_CREDENTIAL_CHARACTERS: Final = 8192
"""A longer credential is rejected unread: keys and reasonable tokens are shorter."""

Header: TypeAlias = Callable[[str], str | None]


class AuthPlugin:
    """The plug-in that identifies callers by API keys and tokens, and checks their scopes.

    Parameters
    ----------
    settings:
        The settings of authentication.
    clock, wall_clock:
        The monotonic clock, in seconds, and the wall clock, in seconds since 1970.
    fetch:
        Returns the content of a URL; its second argument is the timeout in seconds.
    """

    Settings = AuthSettings

    def __init__(
        self,
        settings: AuthSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        fetch: Callable[[str, float], bytes] = fetch,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._wall_clock = wall_clock
        self._fetch = fetch
        # Files are opened when an engine asks for an authenticator, not here: `penstock keys new` must run before the
        # key file exists.
        self._checker: CredentialChecker | None = None

    def __repr__(self) -> str:
        return f"<AuthPlugin: {'on' if self._settings.is_on else 'off'}>"

    def check(self, app: App) -> None:
        """Reject scopes for endpoints that the app does not have.

        Raises
        ------
        PluginError
            If the setting ``scopes`` names such an endpoint.
        """
        named = [name for name in self._settings.scopes if name != ANY_ENDPOINT]
        require_endpoints(app, named, plugin="auth", setting="scopes")

    @hookimpl
    def penstock_authenticator(self, endpoint: Endpoint | Route) -> Callable[[Submission], Principal] | None:
        """Require a key or a token, if the settings configure any."""
        if not self._settings.is_on:
            return None
        if self._checker is None:
            self._checker = self._new_checker()
        return authenticator(self._checker, endpoint.name, *self._needs(endpoint))

    @hookimpl
    def penstock_description(self, endpoint: Endpoint) -> EndpointDescription | None:
        """Describe the credentials that the settings accept, and the scopes that the endpoint needs."""
        settings = self._settings
        if not settings.is_on:
            return None
        scopes, _ = self._needs(endpoint)
        return EndpointDescription(
            credentials=_credentials(takes_keys=settings.takes_keys, takes_tokens=settings.jwt is not None),
            scopes=tuple(sorted(scopes)),
            errors=(Unauthorized, Forbidden) if scopes else (Unauthorized,),
        )

    @hookimpl
    def penstock_cli_commands(self) -> Iterable[Any]:
        """Add the command ``penstock keys``."""
        from penstock_auth.key_commands import keys  # noqa: PLC0415 - a server does not need click

        return [keys]

    def _needs(self, endpoint: Endpoint | Route) -> tuple[frozenset[str], frozenset[str]]:
        """Return the scopes that a caller needs all of, and the scopes that it needs any one of."""
        settings = self._settings
        if isinstance(endpoint, Route):
            if endpoint.is_for_callers:
                return frozenset(), frozenset()
            is_read = endpoint.method == "GET"
            return frozenset(), frozenset({settings.operator_scope, *([settings.observer_scope] if is_read else [])})
        scopes = settings.scopes.get(endpoint.name, settings.scopes.get(ANY_ENDPOINT, ()))
        return frozenset(scopes), frozenset()

    # ---- opening the sources of keys

    def _new_checker(self) -> CredentialChecker:
        settings = self._settings
        fixed = keys_in_text(settings.keys or "")
        file = None if settings.keys_file is None else self._watched(settings.keys_file, keys_in, "keys")
        ring = KeyRing(fixed, file, clock=self._wall_clock)
        if settings.jwt is None:
            return CredentialChecker(ring)
        require_library()
        verifier = TokenVerifier(settings.jwt, self._source(settings.jwt), clock=self._wall_clock)
        return CredentialChecker(ring, verifier)

    def _source(self, settings: JwtSettings) -> KeySource:
        parse = partial(parse_key_set, algorithms=settings.algorithms)
        if settings.jwks_file is not None:
            return KeySetFile(self._watched(settings.jwks_file, parse, "keys for verifying tokens"))
        assert settings.jwks_url is not None
        source = FetchedKeys(
            settings.jwks_url,
            fetch=partial(self._fetch, settings.jwks_url, settings.fetch_timeout),
            parse=parse,
            cache_seconds=settings.cache_seconds,
            refetch_seconds=settings.refetch_seconds,
            clock=self._clock,
        )
        source.look_again()
        return source

    def _watched(self, path: str, parse: Callable[[bytes], Any], what: str) -> WatchedFile[Any]:
        fix = "fix it, or create one with `penstock keys new NAME --file FILE`" if what == "keys" else "fix it"
        try:
            return WatchedFile(path, parse, what=what, clock=self._clock, wall_clock=self._wall_clock)
        except (OSError, ValueError) as error:
            complaint = getattr(error, "strerror", None) or error
            raise PluginError(f"plug-in 'auth' cannot read the {what} in {path}: {complaint}; {fix}") from None


class KeySetFile:
    """A ``KeySource`` that is a file."""

    def __init__(self, file: WatchedFile[KeySet]) -> None:
        self._file = file

    def current(self) -> KeySet:
        """Return the keys."""
        return self._file.current()

    def look_again(self) -> bool:
        """Return False: the file is checked once a second anyway."""
        return False


class CredentialChecker:
    """The look-up of a caller by its credential.

    Parameters
    ----------
    ring:
        The API keys.
    tokens:
        The verifier of tokens, or None if tokens are not accepted.
    """

    def __init__(self, ring: KeyRing, tokens: TokenVerifier | None = None) -> None:
        self._ring = ring
        self._tokens = tokens

    def __repr__(self) -> str:
        return f"<CredentialChecker: {self._ring!r}{', tokens' if self._tokens else ''}>"

    def principal_of(self, header: Header) -> Principal:
        """Return the principal of the credential in a request's headers.

        Raises
        ------
        Unauthorized
            If there is no valid credential.
        Unavailable
            If a token cannot be checked yet: its key is still being fetched.
        """
        authorization = header("authorization")
        api_key = header("x-api-key")
        if authorization is None:
            if api_key is None:
                raise no_credential()
            credential = api_key
        else:
            is_usual = authorization[:7] == "Bearer "
            credential = authorization[7:].strip(" ") if is_usual else bearer(authorization)
            if api_key is not None and not compare_digest(digest_of(api_key), digest_of(credential)):
                raise invalid_credential("Authorization and X-API-Key differ; send one of them")
        if not 0 < len(credential) <= MOST_CREDENTIAL_CHARACTERS:
            raise invalid_credential("The credential is empty or too long")
        digest = digest_of(credential)
        principal = self._ring.principal_of(digest)
        if principal is not None:
            return principal
        if self._tokens is not None and authorization is not None:
            return self._tokens.principal_of(credential, digest)
        raise unknown_key()


def _credentials(*, takes_keys: bool, takes_tokens: bool) -> dict[str, dict[str, Any]]:
    """Return the security schemes: both headers take keys, and only the first takes tokens."""
    kinds = [kind for kind, is_taken in (("an API key", takes_keys), ("a JSON Web Token", takes_tokens)) if is_taken]
    bearer_scheme = {"type": "http", "scheme": "bearer", "description": f"Takes {' or '.join(kinds)}."}
    if not takes_keys:
        return {"bearer": {**bearer_scheme, "bearerFormat": "JWT"}}
    return {"bearer": bearer_scheme, "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}


def bearer(authorization: str) -> str:
    """Return the credential in an ``Authorization`` header.

    Raises
    ------
    Unauthorized
        If its scheme is not Bearer.
    """
    scheme, _, credential = authorization.partition(" ")
    if scheme != "Bearer" and scheme.lower() != "bearer":
        raise invalid_credential("The scheme of Authorization must be Bearer")
    return credential.strip(" ")


def authenticator(
    checker: CredentialChecker, name: str, all_of: frozenset[str], any_of: frozenset[str]
) -> Callable[[Submission], Principal]:
    """Return the authenticator of one endpoint or route, which is called for each of its requests."""
    principal_of = checker.principal_of
    needs_scopes = bool(all_of or any_of)

    def authenticate(submission: Submission) -> Principal:
        principal = principal_of(submission.header)
        if not needs_scopes:
            return principal
        scopes = principal.scopes
        if all_of <= scopes and (not any_of or not any_of.isdisjoint(scopes)):
            return principal
        raise _forbidden(name, all_of - scopes, any_of)

    return authenticate


def _forbidden(name: str, missing: frozenset[str], any_of: frozenset[str]) -> Forbidden:
    if missing:
        return missing_scope(name, missing, shown=" and ".join(map(repr, sorted(missing))))
    return missing_scope(name, any_of, shown=" or ".join(map(repr, sorted(any_of))))
