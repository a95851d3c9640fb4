"""The key of the shutdown routes: where it comes from, whether it is strong enough, and who has it.

Only its digest is kept: nothing that prints an object of ours can show it.
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

LEAST_BITS: Final = 128
LONGEST_FILE: Final = 4096  # bytes; a key is a line
RECIPE: Final = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1: what a bearer token can be
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PLACEHOLDERS = ("changeme", "change-me", "password", "secret", "example", "placeholder", "your-key", "yourkey")
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)

# How many different characters a random key of such characters is drawn from.
_ALPHABETS = (
    (re.compile(r"[0-9]+"), 10),
    (re.compile(r"[0-9a-f]+|[0-9A-F]+"), 16),
    (re.compile(r"[a-z0-9]+|[A-Z0-9]+"), 32),
)
_LARGEST_ALPHABET = 64


class Key:
    """What a caller has to show.

    Parameters
    ----------
    text:
        The key itself; forgotten at once.

    Raises
    ------
    PluginError
        If it is too weak, or could not be sent in a header. The message says how to make a better one, and never
        what this one is.
    """

    __slots__ = ("_digest",)

    def __init__(self, text: str) -> None:
        weakness = weakness_of(text)
        if weakness:
            raise PluginError(f"the key of plug-in 'shutdown' {weakness}; make one with: {RECIPE}")
        self._digest = _digest(text)

    def __repr__(self) -> str:
        return "<Key>"

    @classmethod
    def from_file(cls, path: Path) -> Key:
        """Read the key from a file that holds nothing else.

        Raises
        ------
        PluginError
            If it cannot be read, or as for the class.
        """
        try:
            with path.open("rb") as file:
                content = file.read(LONGEST_FILE + 1)
            text = content.decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not plain text"
            raise PluginError(
                f"the key_file {str(path)!r} of plug-in 'shutdown' cannot be read: {reason}; make one with: {RECIPE}"
            ) from None
        return cls(text)

    def is_in(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header carries it. It takes the same time for all that are wrong."""
        match = _BEARER.fullmatch(authorization or "")
        # Digests are of one length, so not even the key's length can be learnt from the time.
        return hmac.compare_digest(_digest(match[1] if match else ""), self._digest)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def weakness_of(text: str) -> str:
    """What is wrong with a key, or "". It finds the obvious: nobody can tell how a key was drawn by looking at it."""
    if not text:
        return "is empty"
    if not _TOKEN.fullmatch(text):
        return "has characters that no bearer token can have"
    if any(word in text.lower() for word in _PLACEHOLDERS) or _steps_by_one(text) > 0.75 * len(text):
        return "is one that anybody would guess"
    if _UUID.fullmatch(text):
        return f"is a UUID, which has less than {LEAST_BITS} random bits"
    bits = _most_bits(text)
    return "" if bits >= LEAST_BITS else f"has at most {bits:.0f} bits, of {LEAST_BITS} that it needs"


def _most_bits(text: str) -> float:
    """The entropy that a key of this length and of such characters has at the most; of what repeats, once."""
    drawn = text[: _period(text)].rstrip("=")
    letters = re.sub(r"[^A-Za-z0-9]", "", drawn)
    alphabet = next((size for characters, size in _ALPHABETS if characters.fullmatch(letters)), _LARGEST_ALPHABET)
    length = len(drawn) if alphabet == _LARGEST_ALPHABET else len(letters)
    return length * math.log2(alphabet)


def _period(text: str) -> int:
    """After how many characters the text begins again, at least once and until its end; its length if it never does."""
    halves = range(1, len(text) // 2 + 1)
    return next((shift for shift in halves if text.startswith(text[shift:])), len(text))


def _steps_by_one(text: str) -> int:
    """How often a character is followed by itself, or by one of its neighbours in the alphabet."""
    return sum(abs(ord(second) - ord(first)) <= 1 for first, second in itertools.pairwise(text))
