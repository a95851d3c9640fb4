"""API keys: how they look, and how they are found again by their digests. A key itself is never kept."""

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
"""By it, scanners that look for leaked secrets know a key, and people too."""
KEY_BYTES: Final = 32
SHORTEST_KEY: Final = 16
"""Characters that a key somebody has thought of must have: one that can be guessed is none."""
LONGEST_NAME: Final = 255

_DIGEST = "sha256:"
_HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
# RFC 6749, 3.3: whatever may stand in a header between quotes, but for blanks.
_SCOPE = re.compile(r"[!#-\[\]-~]{1,128}")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a key.

    Parameters
    ----------
    digest:
        Its SHA-256.
    principal:
        Whose it is, with the scopes that it gives.
    ends:
        Until when it is good, in seconds since 1970.
    """

    digest: bytes
    principal: Principal
    ends: float = inf

    def __repr__(self) -> str:
        return f"<Key of {self.principal.name}>"


def new_key() -> str:
    """A key that nobody can guess: 256 bits from the system's generator."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest_of(credential: str) -> bytes:
    """What stands for a key wherever it is kept.

    Plain SHA-256 is enough: a slow hash is for passwords, which can be guessed, and would be paid for by each request.
    """
    # What cannot be encoded cannot be a key; it must only not fail here.
    return hashlib.sha256(credential.encode("utf-8", "replace")).digest()


def digest_from_hex(text: str) -> bytes:
    """A digest as it is written in files.

    Raises
    ------
    ValueError
        If it is none. The text itself is not shown: it may be a key in the wrong place.
    """
    if not _HEX_DIGEST.fullmatch(text):
        raise ValueError("a SHA-256 digest has 64 hexadecimal digits")
    return bytes.fromhex(text)


def check_name(name: str) -> str:
    """Refuse a principal's name that could forge a line of a log, or that nobody can read.

    Raises
    ------
    ValueError
        If it is empty, too long, or has characters that cannot be printed, or blanks around it.
    """
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"a principal's name must have 1 to {LONGEST_NAME} characters that can be printed, and no blanks around it"
        )
    return name


def check_scope(scope: str) -> str:
    """Refuse a scope that could not stand in a header.

    Raises
    ------
    ValueError
        If it has blanks, quotes, backslashes or what is not ASCII.
    """
    if not _SCOPE.fullmatch(scope):
        raise ValueError(f"scope {scope!r} must be of visible ASCII, without blanks, quotes and backslashes")
    return scope


def keys_in_text(text: str) -> dict[bytes, Key]:
    """The keys of a setting: ``NAME[:SCOPE+SCOPE]=KEY`` or ``...=sha256:DIGEST``, with commas or blanks between them.

    Raises
    ------
    ValueError
        If they cannot be read; the message names the principal or counts, and shows no key.
    """
    return index(_key_in_text(item, number) for number, item in enumerate(re.split(r"[,\s]+", text), 1) if item)


def _key_in_text(item: str, number: int) -> Key:
    who, equals, secret = item.partition("=")
    name, colon, scopes = who.partition(":")
    if not equals or not name:
        raise ValueError(f"key number {number} is not written as NAME=KEY")
    try:
        principal = Principal(check_name(name), frozenset(map(check_scope, scopes.split("+") if colon else ())))
        if secret.startswith(_DIGEST):
            return Key(digest=digest_from_hex(secret.removeprefix(_DIGEST)), principal=principal)
    except ValueError as error:
        raise ValueError(f"key number {number}: {error}") from None
    if len(secret) < SHORTEST_KEY or not secret.isascii():
        raise ValueError(
            f"the key of {name!r} must have at least {SHORTEST_KEY} characters, all of them ASCII, "
            "so that nobody guesses it; `penstock keys new` makes good ones"
        )
    return Key(digest=digest_of(secret), principal=principal)


def index(keys: Iterable[Key]) -> dict[bytes, Key]:
    """The keys by their digests.

    Raises
    ------
    ValueError
        If two are the same: nobody could say whose it is.
    """
    found: dict[bytes, Key] = {}
    for key in keys:
        other = found.setdefault(key.digest, key)
        if other is not key:
            raise ValueError(f"{other.principal.name!r} and {key.principal.name!r} have the same key; make a new one")
    return found


class KeyRing:
    """All keys, and whose they are.

    Parameters
    ----------
    fixed:
        Those of the environment.
    file:
        Those of the file, by their digests.
    clock:
        Seconds since 1970.
    """

    def __init__(
        self,
        fixed: Mapping[bytes, Key],
        file: WatchedFile[dict[bytes, Key]] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fixed = fixed
        self._file = file
        self._clock = clock
        # Whoever presents an unknown key is compared with this one, so that both ways take the same steps.
        self._nobody = Key(digest=secrets.token_bytes(32), principal=Principal(""), ends=-inf)

    def __repr__(self) -> str:
        return f"<KeyRing: {len(self._fixed)} keys fixed, {self._file!r}>"

    def principal_of(self, digest: bytes) -> Principal | None:
        """Whose key has this digest, or None.

        How long the look-up takes tells nothing: the table is entered by a hash whose seed is this process's secret.

        Raises
        ------
        Unauthorized
            If the key has expired.
        """
        key = self._fixed.get(digest)
        if key is None and self._file is not None:
            key = self._file.current().get(digest)
        key = key or self._nobody
        if not compare_digest(key.digest, digest):
            return None
        if key.ends <= self._clock():
            raise invalid_credential("The key has expired")
        return key.principal
