"""The keys for verifying tokens: a JSON Web Key Set, in which each key is bound to the algorithms it is meant for."""

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

if TYPE_CHECKING:  # PyJWT is an extra, loaded only where tokens are used
    from jwt import PyJWK

MOST_VERIFIED: Final = 4096

# For each algorithm, its key type and curves. The type keeps a public key from being used as a shared secret.
_FITTING: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", frozenset())),
    **dict.fromkeys(("HS256", "HS384", "HS512"), ("oct", frozenset())),
    "ES256": ("EC", frozenset({"P-256"})),
    "ES256K": ("EC", frozenset({"secp256k1"})),
    "ES384": ("EC", frozenset({"P-384"})),
    "ES512": ("EC", frozenset({"P-521"})),
    "EdDSA": ("OKP", frozenset({"Ed25519", "Ed448"})),
}
# For each key type, the members needed for verifying. A private half left in the key set by mistake is never loaded.
_PARTS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}


class KeySet:
    """A set of keys, and the tokens verified with them.

    Parameters
    ----------
    keys:
        Each key by its ID and algorithm. A number stands in for a missing ID; a token cannot name it.

    Attributes
    ----------
    verified:
        The principal of each verified token and its expiry in seconds since 1970, by the token's digest. It is kept
        here because it holds for exactly these keys.
    """

    def __init__(self, keys: Mapping[tuple[str | int, str], PyJWK]) -> None:
        self._keys = keys
        self._nameless: dict[str, PyJWK | None] = {}
        for (_, algorithm), key in keys.items():
            # A token that names no key is verified with the only key that fits, never with several in turn.
            self._nameless[algorithm] = None if algorithm in self._nameless else key
        self.verified: dict[bytes, tuple[Principal, float]] = {}
        self._adding = threading.Lock()

    def __repr__(self) -> str:
        return f"<KeySet: {len(self._keys)} keys, {len(self.verified)} tokens verified>"

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key with this ID for this algorithm or, without an ID, the only key for the algorithm."""
        return self._nameless.get(algorithm) if kid is None else self._keys.get((kid, algorithm))

    def remember(self, digest: bytes, principal: Principal, ends: float) -> None:
        """Remember a verified token until it expires; when the cache is full, the oldest entry is dropped."""
        with self._adding:
            if len(self.verified) >= MOST_VERIFIED:
                del self.verified[next(iter(self.verified))]
            self.verified[digest] = principal, ends


class KeySource(Protocol):
    """A source of keys: a file or a URL."""

    def current(self) -> KeySet | None:
        """Return the keys, or None if there are none yet. Never waits."""

    def look_again(self) -> bool:
        """Handle a token that names an unknown key; return whether the key may turn up in a moment."""


def parse_key_set(content: bytes, algorithms: Iterable[str]) -> KeySet:
    """Parse a JSON Web Key Set.

    Keys for other algorithms, keys that are not for signatures, and keys too short for their algorithm are left out.

    Raises
    ------
    ValueError
        If the content is not a key set, or no key in it is usable. The message shows no part of the keys.
    """
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ValueError("it is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError('it is not a JSON Web Key Set, which is an object with a list of "keys"')  # noqa: TRY004 - the content is wrong, not an argument's type
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
    """Return the allowed algorithms that a key is meant for."""
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
        # The libraries' messages may quote the key, so they are dropped.
        return None


def require_library() -> None:
    """Check that the libraries for verifying tokens are installed.

    Raises
    ------
    PluginError
        If PyJWT, or the ``cryptography`` package that it needs, is missing.
    """
    try:
        from jwt import PyJWK  # noqa: F401, PLC0415 - an extra, loaded only where tokens are used
        from jwt.algorithms import has_crypto  # noqa: PLC0415 - see above
    except ImportError:
        has_crypto = False
    if not has_crypto:
        raise PluginError(
            "plug-in 'auth': tokens (jwt) need PyJWT with cryptography, which is not installed; "
            "pip install 'penstock[jwt]'"
        )


def start_thread(work: Callable[[], None]) -> None:
    """Run ``work`` in a daemon thread, which does not delay the end of the process."""
    threading.Thread(target=work, name="penstock-auth-jwks", daemon=True).start()


class FetchedKeys:
    """The keys behind a URL, fetched in a separate thread so that no request ever waits for them.

    The current keys stay in force while new ones are being fetched, and when fetching fails.

    Parameters
    ----------
    url:
        The URL of the key set.
    fetch:
        Returns the content of the URL, or raises.
    parse:
        Turns the content into a key set, or raises ``ValueError``.
    cache_seconds, refetch_seconds:
        See ``JwtSettings``.
    clock:
        The monotonic clock, in seconds.
    start:
        Runs a fetch in another thread.
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
        self._host = urlsplit(url).hostname or ""  # the rest of the URL may hold a secret and is not logged
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
        """Return the keys, or None if none have been fetched yet; start a fetch if they are stale."""
        if self._clock() >= self._stale_at:
            self.look_again()
        return self._keys

    def look_again(self) -> bool:
        """Start a fetch, unless one started less than ``refetch_seconds`` ago; return whether one is in progress."""
        with self._deciding:
            now = self._clock()
            if self._is_fetching or now < self._not_before:
                return self._is_fetching
            self._is_fetching = True
            self._not_before = now + self._refetch_seconds
        try:
            self._start(self._fetch_and_keep)
        except RuntimeError as error:  # no further thread can be started
            self._is_fetching = False
            self._complain(error)
        return self._is_fetching

    def _fetch_and_keep(self) -> None:
        try:
            content = self._fetch()
            if content != self._bytes:
                self._keys = self._parse(content)
                self._bytes = content
                log_event(logging.INFO, "jwks-fetched", "fetched the keys for verifying tokens", host=self._host)
            self._stale_at = self._clock() + self._cache_seconds
        except Exception as error:
            self._complain(error)
        finally:
            self._is_fetching = False

    def _complain(self, error: Exception) -> None:
        effect = "no token can be verified" if self._keys is None else "the keys fetched before stay in force"
        log_event(
            logging.ERROR if self._keys is None else logging.WARNING,
            "jwks-not-fetched",
            f"the keys for verifying tokens cannot be fetched: {type(error).__name__}: {error}; {effect}",
            host=self._host,
        )
