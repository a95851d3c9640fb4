"""The query parameters of the routes: ``?drain=SECONDS``, ``?why=...``, ``?pool=NAME`` and ``?workers=N``."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl

from penstock.errors import MalformedRequest

MAX_WHY_CHARACTERS: Final = 200
MAX_QUERY_CHARACTERS: Final = 4096

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")  # float() would also accept nan, 1_0 and digits of other scripts

_WHOLE = re.compile(r"[0-9]{1,9}")


def parameters_of(query: str, known: Collection[str]) -> dict[str, str]:
    """Return the parameters, decoded.

    Raises
    ------
    MalformedRequest
        If a parameter is unknown or appears twice: a misspelt ``drain`` must not fall back to the default.
    """
    if len(query) > MAX_QUERY_CHARACTERS:
        raise MalformedRequest(f"the query is longer than {MAX_QUERY_CHARACTERS} characters")
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        if name not in known:
            raise MalformedRequest(f"unknown parameter {name[:40]!r}; the parameters are: {', '.join(sorted(known))}")
        if name in found:
            raise MalformedRequest(f"the parameter {name!r} appears twice; send it once", param=name)
        found[name] = value
    return found


def seconds_of(text: str) -> float:
    """Return the seconds of ``?drain=``.

    Raises
    ------
    MalformedRequest
        If the value is not a number of 0 or more.
    """
    if not _SECONDS.fullmatch(text):
        raise MalformedRequest(
            f"drain={text[:40]!r} cannot be read; send seconds, 0 or more, such as 2.5", param="drain"
        )
    return float(text)


def workers_of(text: str) -> int:
    """Return the number of ``?workers=``.

    Raises
    ------
    MalformedRequest
        If the value is not a whole number.
    """
    if not _WHOLE.fullmatch(text):
        raise MalformedRequest(f"workers={text[:40]!r} cannot be read; send a whole number such as 3", param="workers")
    return int(text)


def sentence_of(text: str) -> str:
    """Return the text of ``?why=`` in a form fit for a log: one line, printable, of limited length."""
    plain = "".join(character if character.isprintable() else " " for character in text[: 4 * MAX_WHY_CHARACTERS])
    return " ".join(plain.split())[:MAX_WHY_CHARACTERS]
