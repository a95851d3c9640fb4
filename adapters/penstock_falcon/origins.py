"""Which address a request comes from, where there are proxies in front."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from penstock.errors import DeclarationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
FORWARDED_FOR = "x-forwarded-for"
# No chain of proxies is longer; more is somebody's game.
MOST_HOPS = 32


class Origins:
    """Takes a proxy's word for where a request comes from, if the proxy is trusted.

    Parameters
    ----------
    trusted:
        Addresses and networks: ``127.0.0.1``, ``10.0.0.0/8``.

    Attributes
    ----------
    are_told:
        Whether any proxy is trusted; else every peer is its own origin, and there is nothing to ask.

    Raises
    ------
    DeclarationError
        If one of them is none.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        try:
            self._trusted = [ipaddress.ip_network(network) for network in trusted]
        except ValueError as error:
            raise DeclarationError(f"trusted_proxies: {error}; write 127.0.0.1 or 10.0.0.0/8") from None
        self.are_told = bool(self._trusted)

    def address(self, peer: str, header: Callable[[str], str | None]) -> str:
        """The address of the client: the last one in the chain that no trusted proxy has.

        Parameters
        ----------
        peer:
            Of the connection; "" where it has none.
        header:
            Looks a header of the request up. What stands before an address that is not trusted, anybody may have
            written there, so it is not looked at.
        """
        if not self._is_trusted(peer):
            return peer
        hops = (header(FORWARDED_FOR) or "").split(",")[-MOST_HOPS:]
        for hop in map(str.strip, reversed(hops)):
            if _parsed(hop) is None:
                break
            peer = hop
            if not self._is_trusted(hop):
                break
        return peer

    def _is_trusted(self, peer: str) -> bool:
        address = _parsed(peer)
        return address is not None and any(address in network for network in self._trusted)


def _parsed(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
