"""API keys: their format, and their look-up by digest. The keys themselves are never stored."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from hmac import compare_digest
from math import inf
from typing import Final

import msgspec

from penstock.hooks import Principal
from penstock_auth.refusals import invalid_credential
from penstock_auth.watching import WatchedFile

PREFIX: Final = "penstock_"
"""The prefix by which people, and scanners for leaked secrets, recognize a key."""
KEY_BYTES: Final = 32
SHORTEST_KEY: Final = 16
"""The minimum number of characters of a key that an operator chooses: a shorter one could be guessed."""
LONGEST_NAME: Final = 255

_DIGEST = "sha256:"
_HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
# RFC 6749, 3.3: the characters allowed between quotes in a header, except the space.
_SCOPE = re.compile(r"[!#-\[\]-~]{1,128}")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is stored: by its digest.

    Parameters
    ----------
    digest:
        The SHA-256 digest of the key.
    principal:
        The principal that the key authenticates, with the scopes that it grants.
    ends:
        The time at which the key expires, in seconds since 1970.
    """

    digest: bytes
    principal: Principal
    ends: float = inf

    def __repr__(self) -> str:
        return f"<ApiKey of {self.principal.name}>"


def new_key() -> str:
    """Return a new key: 256 bits from the system's random generator, too many to guess."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest_of(credential: str) -> bytes:
    """Return the digest under which a credential is stored and looked up.

    Plain SHA-256 is enough. A slow hash is for passwords, which can be guessed, and every request would pay for it.
    """
    # Text that cannot be encoded cannot be a key, so any digest will do, as long as nothing raises here.
    return hashlib.sha256(credential.encode("utf-8", "replace")).digest()


def digest_from_hex(text: str) -> bytes:
    """Parse a digest as it is written in files.

    Raises
    ------
    ValueError
        If the text is not a digest. The message does not quote it: it may be a key in the wrong place.
    """
    if not _HEX_DIGEST.fullmatch(text):
        raise ValueError("a SHA-256 digest has 64 hexadecimal digits")
    return bytes.fromhex(text)


def check_name(name: str) -> str:
    """Return a principal's name; reject one that could forge a log line or that cannot be read.

    Raises
    ------
    ValueError
        If it is empty or too long, contains unprintable characters, or has leading or trailing spaces.
    """
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"a principal's name must have 1 to {LONGEST_NAME} printable characters, and no leading or trailing spaces"
        )
    return name


def check_scope(scope: str) -> str:
    """Return a scope; reject one that cannot be written into a header.

    Raises
    ------
    ValueError
        If it is empty, or contains spaces, quotes, backslashes or characters outside ASCII.
    """
    if not _SCOPE.fullmatch(scope):
        raise ValueError(f"scope {scope!r} must be visible ASCII, without spaces, quotes and backslashes")
    return scope


def keys_in_text(text: str) -> dict[bytes, ApiKey]:
    """Parse the setting ``keys``: ``NAME[:SCOPE+SCOPE]=KEY`` or ``...=sha256:DIGEST``, separated by commas or spaces.

    Raises
    ------
    ValueError
        If an item cannot be parsed. The message names its principal or its position, and shows no key.
    """
    return index(_key_in_text(item, number) for number, item in enumerate(re.split(r"[,\s]+", text), 1) if item)


def _key_in_text(item: str, number: int) -> ApiKey:
    owner, equals, secret = item.partition("=")
    name, colon, scopes = owner.partition(":")
    if not equals or not name:
        raise ValueError(f"key number {number} is not written as NAME=KEY")
    try:
        principal = Principal(check_name(name), frozenset(map(check_scope, scopes.split("+") if colon else ())))
        if secret.startswith(_DIGEST):
            return ApiKey(digest=digest_from_hex(secret.removeprefix(_DIGEST)), principal=principal)
    except ValueError as error:
        raise ValueError(f"key number {number}: {error}") from None
    if len(secret) < SHORTEST_KEY or not secret.isascii():
        raise ValueError(
            f"the key of {name!r} must have at least {SHORTEST_KEY} characters, all of them ASCII, "
            "so that it cannot be guessed; `penstock keys new` makes good ones"
        )
    return ApiKey(digest=digest_of(secret), principal=principal)


def index(keys: Iterable[ApiKey]) -> dict[bytes, ApiKey]:
    """Return the keys by their digests.

    Raises
    ------
    ValueError
        If two keys are the same: their principal would be ambiguous.
    """
    found: dict[bytes, ApiKey] = {}
    for key in keys:
        other = found.setdefault(key.digest, key)
        if other is not key:
            raise ValueError(f"{other.principal.name!r} and {key.principal.name!r} have the same key; create a new one")
    return found


class KeyRing:
    """All keys, with their principals.

    Parameters
    ----------
    fixed:
        The keys from the environment, by their digests.
    file:
        The keys from the key file, by their digests.
    clock:
        The wall clock, in seconds since 1970.
    """

    def __init__(
        self,
        fixed: Mapping[bytes, ApiKey],
        file: WatchedFile[dict[bytes, ApiKey]] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fixed = fixed
        self._file = file
        self._clock = clock
        # An unknown key is compared with this one, so that known and unknown keys take the same steps.
        self._decoy = ApiKey(digest=secrets.token_bytes(32), principal=Principal(""), ends=-inf)

    def __repr__(self) -> str:
        return f"<KeyRing: {len(self._fixed)} fixed keys, {self._file!r}>"

    def principal_of(self, digest: bytes) -> Principal | None:
        """Return the principal of the key with this digest, or None.

        The duration of the look-up reveals nothing: the dictionary uses a hash whose seed is secret to this process.

        Raises
        ------
        Unauthorized
            If the key has expired.
        """
        key = self._fixed.get(digest)
        if key is None and self._file is not None:
            key = self._file.current().get(digest)
        key = key or self._decoy
        if not compare_digest(key.digest, digest):
            return None
        if key.ends != inf and key.ends <= self._clock():
            raise invalid_credential("The key has expired")
        return key.principal
