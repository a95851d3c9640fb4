"""Origins: checked when the server starts, and compared with the ``Origin`` of each request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

ANY: Final = "*"
OPAQUE: Final = "null"
"""The origin of sandboxed frames, local files and some redirects: any page can have it."""
DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
MOST_REMEMBERED: Final = 256

# RFC 6454, section 6.2: a scheme, a host and a port, and no path. ``*.`` stands for names below the host, and ``:*``
# for any port.
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<any_name>\*\.)?(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:(?P<port>\d{1,5}|\*))?"
)


class AllowedOrigins:
    """The origins whose pages may read responses.

    Parameters
    ----------
    texts:
        Origins, such as ``https://app.example.com``; ``*`` for all of them. ``https://*.example.com`` stands for all
        names below ``example.com``, and ``http://localhost:*`` for all ports.

    Attributes
    ----------
    is_any:
        True if every origin is allowed.
    has_opaque:
        True if ``null`` is allowed.

    Raises
    ------
    ValueError
        If one is not an origin.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        names = {text.strip().lower() for text in texts}
        self.is_any = ANY in names
        self.has_opaque = OPAQUE in names
        self._exact = names & {OPAQUE}
        patterns = []
        for found in map(_parsed, sorted(names - {ANY, OPAQUE})):
            if found["any_name"] or found["port"] == ANY:
                patterns.append(_pattern(found))
            else:
                self._exact.add(f"{found['scheme']}://{found['host']}{_explicit_port(found)}")
        self._pattern = re.compile("|".join(patterns)) if patterns else None
        # A page sends the same origin with every request.
        self._matches = lru_cache(MOST_REMEMBERED)(self._is_matched)

    def __contains__(self, origin: str) -> bool:
        """Return whether an ``Origin`` header names an allowed origin."""
        return self.is_any or origin in self._exact or (self._pattern is not None and self._matches(origin))

    def _is_matched(self, origin: str) -> bool:
        return self._pattern is not None and self._pattern.fullmatch(origin) is not None


def _parsed(text: str) -> re.Match[str]:
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not an origin; write a scheme, a host and perhaps a port, such as https://app.example.com, "
            "and no path"
        )
    return found


def _explicit_port(found: re.Match[str]) -> str:
    """Return the port as browsers send it, who omit the one that the scheme implies."""
    return "" if found["port"] in {None, DEFAULT_PORTS.get(found["scheme"])} else f":{found['port']}"


def _pattern(found: re.Match[str]) -> str:
    names = r"([a-z0-9_-]+\.)+" if found["any_name"] else ""
    port = r"(:\d{1,5})?" if found["port"] == ANY else _explicit_port(found)
    return f"{re.escape(found['scheme'])}://{names}{re.escape(found['host'])}{port}"
