"""The key of the shutdown routes: reading it, checking its strength, and comparing it with the one in a request.

Only its digest is kept, so printing an object of this package cannot reveal it.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import math
import re
from pathlib import Path
from typing import Final

from penstock.errors import PluginError

MIN_BITS: Final = 128
MAX_FILE_BYTES: Final = 4096  # a key is one line
RECIPE: Final = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1: the syntax of a bearer token
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PLACEHOLDERS = ("changeme", "change-me", "password", "secret", "example", "placeholder", "your-key", "yourkey")
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)

# The size of the alphabet that a random key of these characters is drawn from.
_ALPHABETS = (
    (re.compile(r"[0-9]+"), 10),
    (re.compile(r"[0-9a-f]+|[0-9A-F]+"), 16),
    (re.compile(r"[a-z0-9]+|[A-Z0-9]+"), 32),
)
_LARGEST_ALPHABET = 64


class ShutdownKey:
    """The key that a caller of the routes must send.

    Parameters
    ----------
    text:
        The key itself; only its digest is kept.

    Raises
    ------
    PluginError
        If the key is too weak, or cannot be sent in a header. The message says how to make a better one, and never
        contains the key.
    """

    __slots__ = ("_digest",)

    def __init__(self, text: str) -> None:
        weakness = weakness_of(text)
        if weakness:
            raise PluginError(f"the key of plug-in 'shutdown' {weakness}; make one with: {RECIPE}")
        self._digest = _digest(text)

    def __repr__(self) -> str:
        return "<ShutdownKey>"

    @classmethod
    def from_file(cls, path: Path) -> ShutdownKey:
        """Read the key from a file that contains nothing else.

        Raises
        ------
        PluginError
            If the file cannot be read, or the key is invalid.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
            text = content.decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the file is not plain text"
            raise PluginError(
                f"the key_file {str(path)!r} of plug-in 'shutdown' cannot be read: {reason}; make one with: {RECIPE}"
            ) from None
        return cls(text)

    def is_in(self, authorization: str | None) -> bool:
        """Return whether an ``Authorization`` header contains the key. Every wrong key takes the same time."""
        match = _BEARER.fullmatch(authorization or "")
        # Digests all have one length, so the time does not reveal the key's length either.
        return hmac.compare_digest(_digest(match[1] if match else ""), self._digest)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def weakness_of(text: str) -> str:
    """Return what is wrong with a key, or "". Only obvious faults are found: a key does not show how it was drawn."""
    if not text:
        return "is empty"
    if not _TOKEN.fullmatch(text):
        return "has characters that a bearer token cannot have"
    if any(word in text.lower() for word in _PLACEHOLDERS) or _steps_by_one(text) > 0.75 * len(text):
        return "is easy to guess"
    if _UUID.fullmatch(text):
        return f"is a UUID, which has fewer than {MIN_BITS} random bits"
    bits = _most_bits(text)
    return "" if bits >= MIN_BITS else f"has at most {bits:.0f} bits of entropy; it needs {MIN_BITS}"


def _most_bits(text: str) -> float:
    """Return the highest entropy that a key of this length and alphabet can have; a repeated part counts once."""
    drawn = text[: _period(text)].rstrip("=")
    letters = re.sub(r"[^A-Za-z0-9]", "", drawn)
    alphabet = next((size for characters, size in _ALPHABETS if characters.fullmatch(letters)), _LARGEST_ALPHABET)
    length = len(drawn) if alphabet == _LARGEST_ALPHABET else len(letters)
    return length * math.log2(alphabet)


def _period(text: str) -> int:
    """Return the length of the part that the text repeats to its end; the text's own length if it does not repeat."""
    halves = range(1, len(text) // 2 + 1)
    return next((shift for shift in halves if text.startswith(text[shift:])), len(text))


def _steps_by_one(text: str) -> int:
    """Count the characters that are followed by themselves, or by a neighbour in the alphabet."""
    return sum(abs(ord(second) - ord(first)) <= 1 for first, second in itertools.pairwise(text))
