"""The request header ``Prefer`` (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

LONGEST_WAIT: Final = 60.0
"""The most seconds for which a request waits for a job."""

_ELEMENT: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])+')
_PREFERENCE: Final = re.compile(
    r"""\s* ([!#$%&'*+.^_`|~0-9A-Za-z-]+) \s*
    (?: = \s* ( "(?:[^"\\]|\\.)*" | [^\s";]* ) \s* )?
    (?: ; .* )?""",
    re.VERBOSE | re.DOTALL,
)
_WHOLE_SECONDS: Final = re.compile(r"[0-9]{1,9}")


def preferences(header: str | None) -> Mapping[str, str]:
    """Return the preferences in a header by their names in lower case; the first of a name counts.

    A preference without a value has "". Parameters after a semicolon, and elements that cannot be read, are left out.
    """
    found: dict[str, str] = {}
    for element in _ELEMENT.findall(header or ""):
        match = _PREFERENCE.fullmatch(element)
        if match is not None:
            value = match[2] or ""
            if value.startswith('"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            found.setdefault(match[1].lower(), value)
    return found


def wait_in(found: Mapping[str, str]) -> float | None:
    """Return the seconds of the preference ``wait``, at most 60; None without one that is a number."""
    value = found.get("wait", "")
    return min(float(value), LONGEST_WAIT) if _WHOLE_SECONDS.fullmatch(value) else None
