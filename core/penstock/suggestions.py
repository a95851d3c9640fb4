"""Suggestions for a wrong value: the closest known name, a list of all of them, or a time without its unit."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

_SECONDS_OF_UNIT: Final = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
_WITH_UNIT: Final = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*({'|'.join(_SECONDS_OF_UNIT)})\s*", re.IGNORECASE)


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that is most similar to ``name``, or None if none is similar enough."""
    matches = difflib.get_close_matches(name, list(candidates), n=1)
    return matches[0] if matches else None


def near_miss(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean x?`` if a known name is close, otherwise ``there are: a, b, c``.

    Both end a message about an unknown name, after a semicolon.
    """
    names = sorted(known)
    match = closest(name, names)
    return f"did you mean {match}?" if match else f"there are: {', '.join(names) or 'none'}"


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?``, or "" if no candidate is close. A single candidate is always suggested."""
    names = list(candidates)
    match = names[0] if len(names) == 1 else closest(name, names)
    return f"; did you mean {match!r}?" if match else ""


def in_seconds(value: object) -> str:
    """Return the advice for a time that is written with a unit, ``"30s"``: ``"; give seconds: 30"``. Otherwise ""."""
    match = _WITH_UNIT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return ""
    return f"; give seconds: {float(match[1]) * _SECONDS_OF_UNIT[match[2].lower()]:g}"
