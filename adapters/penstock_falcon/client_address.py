"""The client's address, as seen through trusted proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from penstock.errors import DeclarationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
FORWARDED_FOR = "x-forwarded-for"
# No real chain of proxies is longer; a longer header is an attack.
MOST_HOPS = 32


class TrustedProxies:
    """The proxies whose ``X-Forwarded-For`` is believed.

    Parameters
    ----------
    trusted:
        Addresses and networks: ``127.0.0.1``, ``10.0.0.0/8``.

    Attributes
    ----------
    has_any:
        False if no proxy is trusted; then the peer is always the client.

    Raises
    ------
    DeclarationError
        If an entry is neither an address nor a network.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        try:
            self._trusted = [ipaddress.ip_network(network) for network in trusted]
        except ValueError as error:
            raise DeclarationError(f"trusted_proxies: {error}; write 127.0.0.1 or 10.0.0.0/8") from None
        self.has_any = bool(self._trusted)

    def client_address(self, peer: str, header: Callable[[str], str | None]) -> str:
        """Return the address of the client: the last one in the chain that is not a trusted proxy's.

        Parameters
        ----------
        peer:
            The address at the other end of the connection; "" if the server does not know it.
        header:
            Looks up a header of the request. Entries before the first untrusted address are ignored, because the client
            can write any text there.
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
