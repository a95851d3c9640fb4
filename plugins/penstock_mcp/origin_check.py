"""The check of ``Origin``: a page in a browser is not to use a server that its user can reach, and its author cannot.

A page of ``http://evil.example`` may have its own name resolve to 127.0.0.1, or to an address of the local network.
Its requests then have its name as ``Host`` too, so that this header, over plain HTTP, says nothing about the server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from penstock.errors import Forbidden

ANY: Final = "*"

_PORTS: Final = {"http": 80, "https": 443}


class _Place(NamedTuple):
    scheme: str
    host: str
    port: int


class OriginCheck:
    """The check.

    Parameters
    ----------
    allowed:
        Origins whose pages may use the tools, such as ``https://app.example.com``; ``*`` for all of them.

    Raises
    ------
    ValueError
        If one is not an origin.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        texts = set(allowed)
        self._is_any = ANY in texts
        self._allowed = {_required_place(text) for text in texts - {ANY}}

    def require(self, header: Callable[[str], str | None]) -> None:
        """Check the origin of a request.

        Raises
        ------
        Forbidden
            If it is that of a page which may not use the tools.
        """
        origin = header("origin")
        if origin is None or self._is_any:
            return
        place = _place(origin)
        if place is None or not (place in self._allowed or _is_local(place.host) or _is_own(place, header("host"))):
            raise Forbidden(
                f"pages of {origin[:200]!r} may not use these tools; the operator can allow them with `origins`, a "
                "setting of the plug-in mcp"
            )


def _required_place(text: str) -> _Place:
    place = _place(text.strip())
    if place is None:
        raise ValueError(
            f"origins: {text!r} is not an origin; write a scheme, a host and perhaps a port, such as "
            "https://app.example.com, and no path"
        )
    return place


def _place(origin: str) -> _Place | None:
    """Return the scheme, host and port of an origin; None if it is none, as for a page that is a file."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    is_bare = origin.lower() == f"{parts.scheme}://{parts.netloc}".lower() and "@" not in parts.netloc
    if not parts.hostname or parts.scheme not in _PORTS or not is_bare:
        return None
    return _Place(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port)


def _is_local(host: str) -> bool:
    """Return whether a page of this host comes from this machine. No other site can have such a name."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_own(place: _Place, host: str | None) -> bool:
    """Return whether a page comes from this server, as far as ``Host`` can be trusted.

    It can over TLS, for which a server needs a certificate for its name; and an address is not resolved at all.
    """
    if host is None or not (place.scheme == "https" or _address(place.host) is not None):
        return False
    return _place(f"{place.scheme}://{host}") == place


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
