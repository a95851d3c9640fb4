"""The hooks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from hmac import compare_digest
from typing import Any, Final, TypeAlias

from penstock.errors import Forbidden, PluginError
from penstock.hooks import App, Endpoint, Principal, Route, Submission, hookimpl, require_endpoints
from penstock_auth.fetching import fetch
from penstock_auth.jwks import FetchedKeys, KeySet, KeySource, parse_key_set, require_library
from penstock_auth.keyfile import keys_in
from penstock_auth.keys import KeyRing, digest_of, keys_in_text
from penstock_auth.refusals import invalid_credential, missing_scope, no_credential, unknown_key
from penstock_auth.settings import ANY_ENDPOINT, AuthSettings, JwtSettings
from penstock_auth.tokens import TokenVerifier
from penstock_auth.watching import WatchedFile

MOST_CREDENTIAL_CHARACTERS: Final = 8192
"""A longer one is refused unread: no key and no sensible token is."""

Header: TypeAlias = Callable[[str], str | None]


class AuthPlugin:
    """Says who calls, from API keys and tokens, and refuses those who may not.

    Parameters
    ----------
    settings:
        What the operator says.
    clock, wall_clock:
        Seconds of the monotonic clock, and since 1970.
    fetch:
        Gets what is behind a URL, in so many seconds.
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
        # Nothing is opened before an engine asks: `penstock keys new` must run when there is no file yet.
        self._door: Door | None = None

    def __repr__(self) -> str:
        return f"<AuthPlugin: {'on' if self._settings.is_on else 'off'}>"

    def check(self, app: App) -> None:
        """Refuse scopes for endpoints that the app does not have.

        Raises
        ------
        PluginError
            If there are any.
        """
        named = [name for name in self._settings.scopes if name != ANY_ENDPOINT]
        require_endpoints(app, named, plugin="auth", setting="scopes")

    @hookimpl
    def penstock_authenticator(self, endpoint: Endpoint | Route) -> Callable[[Submission], Principal] | None:
        """Ask for a key or a token, if any are known at all."""
        if not self._settings.is_on:
            return None
        if self._door is None:
            self._door = self._opened()
        return authenticator(self._door, endpoint.name, *self._needs(endpoint))

    @hookimpl
    def penstock_cli_commands(self) -> Iterable[Any]:
        """Offer ``penstock keys``."""
        from penstock_auth.commands import keys  # noqa: PLC0415 - a server needs no command line

        return [keys]

    def _needs(self, endpoint: Endpoint | Route) -> tuple[frozenset[str], frozenset[str]]:
        """The scopes of which all, and those of which any one, must be there."""
        settings = self._settings
        if isinstance(endpoint, Route):
            looks_only = endpoint.method == "GET"
            return frozenset(), frozenset({settings.operator_scope, *([settings.observer_scope] if looks_only else [])})
        scopes = settings.scopes.get(endpoint.name, settings.scopes.get(ANY_ENDPOINT, ()))
        return frozenset(scopes), frozenset()

    # ---- opening

    def _opened(self) -> Door:
        settings = self._settings
        fixed = keys_in_text(settings.keys or "")
        file = None if settings.keys_file is None else self._watched(settings.keys_file, keys_in, "keys")
        ring = KeyRing(fixed, file, clock=self._wall_clock)
        if settings.jwt is None:
            return Door(ring)
        require_library()
        return Door(ring, TokenVerifier(settings.jwt, self._source(settings.jwt), clock=self._wall_clock))

    def _source(self, settings: JwtSettings) -> KeySource:
        parse = partial(parse_key_set, algorithms=settings.algorithms)
        if settings.jwks_file is not None:
            return FileOfKeys(self._watched(settings.jwks_file, parse, "keys of tokens"))
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
        mend = "mend it, or make one with `penstock keys new NAME --file FILE`" if what == "keys" else "mend it"
        try:
            return WatchedFile(path, parse, what=what, clock=self._clock, wall_clock=self._wall_clock)
        except (OSError, ValueError) as error:
            complaint = getattr(error, "strerror", None) or error
            raise PluginError(f"plug-in 'auth' cannot read the {what} in {path}: {complaint}; {mend}") from None


class FileOfKeys:
    """The keys of tokens in a file."""

    def __init__(self, file: WatchedFile[KeySet]) -> None:
        self._file = file

    def current(self) -> KeySet:
        """The keys."""
        return self._file.current()

    def look_again(self) -> bool:
        """No: the file is looked at once a second anyway."""
        return False


class Door:
    """Whoever is known.

    Parameters
    ----------
    ring:
        The keys.
    tokens:
        What verifies tokens, if they are accepted.
    """

    def __init__(self, ring: KeyRing, tokens: TokenVerifier | None = None) -> None:
        self._ring = ring
        self._tokens = tokens

    def __repr__(self) -> str:
        return f"<Door: {self._ring!r}{', tokens' if self._tokens else ''}>"

    def principal_of(self, header: Header) -> Principal:
        """Who presents a good credential.

        Raises
        ------
        Unauthorized
            If nobody does.
        Unavailable
            If that cannot be told yet.
        """
        authorization = header("authorization")
        api_key = header("x-api-key")
        if authorization is None:
            if api_key is None:
                raise no_credential()
            credential = api_key
        else:
            credential = bearer(authorization)
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


def bearer(authorization: str) -> str:
    """The credential in an ``Authorization`` header.

    Raises
    ------
    Unauthorized
        If it is of another scheme.
    """
    scheme, _, credential = authorization.partition(" ")
    if scheme != "Bearer" and scheme.lower() != "bearer":
        raise invalid_credential("The scheme of Authorization must be Bearer")
    return credential.strip(" ")


def authenticator(
    door: Door, name: str, all_of: frozenset[str], any_of: frozenset[str]
) -> Callable[[Submission], Principal]:
    """What is called for each request of one endpoint or route."""
    principal_of = door.principal_of

    def authenticate(submission: Submission) -> Principal:
        principal = principal_of(submission.header)
        scopes = principal.scopes
        if all_of <= scopes and (not any_of or not any_of.isdisjoint(scopes)):
            return principal
        raise _forbidden(name, all_of - scopes, any_of)

    return authenticate


def _forbidden(name: str, missing: frozenset[str], any_of: frozenset[str]) -> Forbidden:
    if missing:
        return missing_scope(name, missing, said=" and ".join(map(repr, sorted(missing))))
    return missing_scope(name, any_of, said=" or ".join(map(repr, sorted(any_of))))
