"""What a request says in its query: ``?drain=SECONDS`` and ``?why=...``."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl

from penstock.errors import MalformedRequest

LONGEST_WHY: Final = 200
LONGEST_QUERY: Final = 4096

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")  # float() would take nan, 1_0 and digits of other scripts too


def parameters_of(query: str, known: Collection[str]) -> dict[str, str]:
    """The parameters, decoded.

    Raises
    ------
    MalformedRequest
        For one that is not known, or is there twice: a misspelt ``drain`` must not become a default.
    """
    if len(query) > LONGEST_QUERY:
        raise MalformedRequest(f"the query is longer than {LONGEST_QUERY} characters")
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        if name not in known:
            raise MalformedRequest(f"there is no parameter {name[:40]!r}; there are: {', '.join(sorted(known))}")
        if name in found:
            raise MalformedRequest(f"the parameter {name!r} is there twice; give it once", param=name)
        found[name] = value
    return found


def seconds_of(text: str) -> float:
    """The seconds of ``?drain=``.

    Raises
    ------
    MalformedRequest
        If it is no number of 0 or more.
    """
    if not _SECONDS.fullmatch(text):
        raise MalformedRequest(f"drain={text[:40]!r}: give seconds, 0 or more, such as 2.5", param="drain")
    return float(text)


def sentence_of(text: str) -> str:
    """The words of ``?why=``, fit for a log: on one line, printable, and not too long."""
    plain = "".join(character if character.isprintable() else " " for character in text[: 4 * LONGEST_WHY])
    return " ".join(plain.split())[:LONGEST_WHY]
