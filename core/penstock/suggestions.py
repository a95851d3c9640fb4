"""What to say of a name that is not there: what was probably meant, or what there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_miss(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known: ``did you mean x?``, or else ``there are: a, b, c``."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(names) or 'none'}"
