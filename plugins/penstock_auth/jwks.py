"""The keys that tokens are verified with: a JSON Web Key Set, each key bound to the algorithms that it is for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from penstock.errors import PluginError
from penstock.hooks import Principal, log_event

if TYPE_CHECKING:
    from jwt import PyJWK

MOST_VERIFIED: Final = 4096

# The type of key that each algorithm takes, and its curve: a public key is never taken for a shared secret.
_FITTING: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", frozenset())),
    **dict.fromkeys(("HS256", "HS384", "HS512"), ("oct", frozenset())),
    "ES256": ("EC", frozenset({"P-256"})),
    "ES256K": ("EC", frozenset({"secp256k1"})),
    "ES384": ("EC", frozenset({"P-384"})),
    "ES512": ("EC", frozenset({"P-521"})),
    "EdDSA": ("OKP", frozenset({"Ed25519", "Ed448"})),
}
# What is needed to verify, and no more: the private half, if somebody has left it there, is not even loaded.
_PARTS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}


class KeySet:
    """The keys, and the tokens that they have verified.

    Parameters
    ----------
    keys:
        Each by its id and its algorithm; a number stands for an id that is missing, and no token can name it.

    Attributes
    ----------
    verified:
        For the digest of each token that was found good, whose it is and when it ends, in seconds since 1970. It lives
        here because it is true for just these keys.
    """

    def __init__(self, keys: Mapping[tuple[str | int, str], PyJWK]) -> None:
        self._keys = keys
        self._nameless: dict[str, PyJWK | None] = {}
        for (_, algorithm), key in keys.items():
            # A token that names no key is tried with the only one that fits, never with several in turn.
            self._nameless[algorithm] = None if algorithm in self._nameless else key
        self.verified: dict[bytes, tuple[Principal, float]] = {}
        self._adding = threading.Lock()

    def __repr__(self) -> str:
        return f"<KeySet: {len(self._keys)} keys, {len(self.verified)} tokens verified>"

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """The key of that id for that algorithm; without an id, the only one for the algorithm."""
        return self._nameless.get(algorithm) if kid is None else self._keys.get((kid, algorithm))

    def remember(self, digest: bytes, principal: Principal, ends: float) -> None:
        """Verify this token no more until it ends; the oldest of too many is forgotten."""
        with self._adding:
            if len(self.verified) >= MOST_VERIFIED:
                del self.verified[next(iter(self.verified))]
            self.verified[digest] = principal, ends


class KeySource(Protocol):
    """Where the keys are."""

    def current(self) -> KeySet | None:
        """The keys; None if there are none yet. Never waits."""

    def look_again(self) -> bool:
        """Somebody names a key that is not among them: whether it is worth while to ask again in a moment."""


def parse_key_set(content: bytes, algorithms: Iterable[str]) -> KeySet:
    """Make sense of a key set.

    Keys that are not for any of the algorithms, or not for signatures, or too short for their algorithm are left out.

    Raises
    ------
    ValueError
        If it is no key set, or none of its keys is of use. The message shows nothing of them.
    """
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ValueError("it is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError('it is no JSON Web Key Set: it must be an object with a list of "keys"')  # noqa: TRY004 - what is wrong is what was read
    allowed = tuple(algorithms)
    found: dict[tuple[str | int, str], PyJWK] = {}
    for number, entry in enumerate(entry for entry in entries if isinstance(entry, dict)):
        for algorithm in _algorithms_of(entry, allowed):
            key = _loaded(entry, algorithm)
            if key is not None:
                found.setdefault((entry.get("kid", number), algorithm), key)
    if not found:
        raise ValueError(f"it has no key that fits the algorithms {', '.join(allowed)} and is long enough for them")
    return KeySet(found)


def _algorithms_of(entry: Mapping[str, Any], allowed: Iterable[str]) -> list[str]:
    """Those of the allowed algorithms that a key is for."""
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return []
    if not isinstance(entry.get("kid", ""), str):
        return []
    own = entry.get("alg")
    return [name for name in allowed if own in (None, name) and _fits(entry, name)]


def _fits(entry: Mapping[str, Any], algorithm: str) -> bool:
    kind, curves = _FITTING[algorithm]
    return entry.get("kty") == kind and (not curves or entry.get("crv") in curves)


def _loaded(entry: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    from jwt import PyJWK  # noqa: PLC0415 - an extra, loaded only where tokens are used

    kind = entry["kty"]
    try:
        key = PyJWK({"kty": kind, **{part: entry[part] for part in _PARTS[kind]}}, algorithm)
        return None if key.Algorithm.check_key_length(key.key) else key
    except Exception:
        # Whatever the libraries say may quote the key.
        return None


def require_library() -> None:
    """See that tokens can be verified at all.

    Raises
    ------
    PluginError
        If PyJWT or the cryptography that it needs is missing.
    """
    try:
        from jwt import PyJWK  # noqa: F401, PLC0415 - an extra, loaded only where tokens are used
        from jwt.algorithms import has_crypto  # noqa: PLC0415 - likewise
    except ImportError:
        has_crypto = False
    if not has_crypto:
        raise PluginError(
            "plug-in 'auth': tokens (jwt) need PyJWT with cryptography, which are not installed; "
            "pip install 'penstock[jwt]'"
        )


def start_thread(work: Callable[[], None]) -> None:
    """Run it beside everything else; the process does not wait for it when it ends."""
    threading.Thread(target=work, name="penstock-auth-jwks", daemon=True).start()


class FetchedKeys:
    """The keys behind a URL, fetched in a thread of their own: nobody ever waits for them.

    Old keys stay in force while new ones are fetched, and when they cannot be.

    Parameters
    ----------
    url:
        Where they are.
    fetch:
        Gets the bytes, or raises.
    parse:
        Makes sense of them, or raises ``ValueError``.
    cache_seconds, refetch_seconds:
        See ``JwtSettings``.
    clock:
        Seconds of the monotonic clock.
    start:
        Runs a fetch somewhere else.
    """

    def __init__(
        self,
        url: str,
        *,
        fetch: Callable[[], bytes],
        parse: Callable[[bytes], KeySet],
        cache_seconds: float,
        refetch_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], None]], None] = start_thread,
    ) -> None:
        self._host = urlsplit(url).hostname or ""  # the rest of the URL may hold a secret, and is not logged
        self._fetch = fetch
        self._parse = parse
        self._cache_seconds = cache_seconds
        self._refetch_seconds = refetch_seconds
        self._clock = clock
        self._start = start
        self._deciding = threading.Lock()
        self._is_fetching = False
        self._stale_at = self._not_before = clock()
        self._bytes = b""
        self._keys: KeySet | None = None

    def __repr__(self) -> str:
        return f"<FetchedKeys of {self._host}: {self._keys!r}{', fetching' if self._is_fetching else ''}>"

    def current(self) -> KeySet | None:
        """The keys; None if there are none yet."""
        if self._clock() >= self._stale_at:
            self.look_again()
        return self._keys

    def look_again(self) -> bool:
        """Fetch them, unless that was done a moment ago; whether a fetch is under way."""
        with self._deciding:
            now = self._clock()
            if self._is_fetching or now < self._not_before:
                return self._is_fetching
            self._is_fetching = True
            self._not_before = now + self._refetch_seconds
        try:
            self._start(self._fetch_and_keep)
        except RuntimeError as error:  # there can be no more threads
            self._is_fetching = False
            self._complain(error)
        return self._is_fetching

    def _fetch_and_keep(self) -> None:
        try:
            content = self._fetch()
            if content != self._bytes:
                self._keys = self._parse(content)
                self._bytes = content
                log_event(logging.INFO, "jwks-fetched", "the keys of tokens are those of their issuer", host=self._host)
            self._stale_at = self._clock() + self._cache_seconds
        except Exception as error:
            self._complain(error)
        finally:
            self._is_fetching = False

    def _complain(self, error: Exception) -> None:
        effect = "no token can be verified" if self._keys is None else "those fetched before stay in force"
        log_event(
            logging.ERROR if self._keys is None else logging.WARNING,
            "jwks-not-fetched",
            f"the keys of tokens cannot be fetched: {type(error).__name__}: {error}; {effect}",
            host=self._host,
        )
