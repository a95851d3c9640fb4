"""The client's address, as seen through trusted proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from penstock.errors import DeclarationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
FORWARDED_FOR = "x-forwarded-for"
UNIX = "unix"
# No real chain of proxies is longer; a longer header is an attack.
MOST_HOPS = 32


class TrustedProxies:
    """The proxies whose ``X-Forwarded-For`` is believed.

    Parameters
    ----------
    trusted:
        Addresses and networks: ``127.0.0.1``, ``10.0.0.0/8``; ``unix`` for clients of a Unix socket, which have none.

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
            networks = [None if entry == UNIX else ipaddress.ip_network(entry) for entry in trusted]
        except ValueError as error:
            raise DeclarationError(f"trusted_proxies: {error}; write 127.0.0.1, 10.0.0.0/8 or {UNIX}") from None
        self._trusted = [network for network in networks if network is not None]
        self._trusts_unix = None in networks
        self.has_any = bool(networks)

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
        nearest = _parsed(peer)
        if nearest is None:
            if peer or not self._trusts_unix:
                return peer
        elif not self._includes(nearest):
            return str(nearest)
        hops = (header(FORWARDED_FOR) or "").split(",")[-MOST_HOPS:]
        client = peer if nearest is None else str(nearest)
        for address in map(_parsed, reversed(hops)):
            if address is None:
                break
            client = str(address)
            if not self._includes(address):
                break
        return client

    def _includes(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _parsed(text: str) -> Address | None:
    """Return the address in one entry of the header, with or without a port; None if there is none in it."""
    text = text.strip()
    if text.startswith("["):  # [2001:db8::1]:443
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:4711
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket that listens on :: sees IPv4 clients as ::ffff:192.0.2.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
