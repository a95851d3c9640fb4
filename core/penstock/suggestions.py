"""Suggestions for a name that is not known: the closest known one, or a list of all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
