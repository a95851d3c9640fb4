"""The addresses that webhooks may be sent to. Pure: names are resolved elsewhere.

A caller chooses the address, and the server sends to it from inside its network. So it must not reach what the caller
cannot: other services of the network, this machine, or the metadata service of a cloud. By default only ``https`` and
addresses of the public internet are allowed. The operator may list hosts that are allowed more.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import httpx2

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_URL_CHARACTERS: Final = 2048
HTTPS_PORT: Final = 443
FIRST_FREE_PORT: Final = 1024
MOST_PORT: Final = 65_535
_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_PORTS: Final = {"https": HTTPS_PORT, "http": 80}

# By the registries of IANA for special addresses. `ipaddress.is_global` has changed between patch versions of Python.
_NOT_PUBLIC: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ipaddress.ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a provider"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved"),
        ("198.51.100.0/24", "reserved"),
        ("203.0.113.0/24", "reserved"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("2001::/23", "reserved"),  # Teredo and ORCHID, among others
        ("2001:db8::/32", "reserved"),
        ("2002::/16", "reserved"),  # 6to4, which contains an IPv4 address
        ("3fff::/20", "reserved"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# The metadata services that are not link-local. That of Azure is an address of the public internet.
_METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
# A listed host may be in the operator's own network. Nothing that is meant to receive webhooks has such an address.
_NEVER: Final = frozenset({"unspecified", "link-local", "multicast", "a metadata service"})


class AddressRefused(ValueError):
    """Webhooks must not be sent to this address. The message says why."""


@dataclass(frozen=True)
class WebhookTarget:
    """The place that a webhook is sent to, which its URL names."""

    url: httpx2.URL
    host: str
    """In lower case, in ASCII, without a full stop at the end."""
    port: int
    is_listed: bool
    """True if the operator has listed it."""

    @property
    def lane(self) -> str:
        """The name that receivers at the same host and port share."""
        return f"{self.host}:{self.port}"

    def require(self, addresses: Iterable[str]) -> None:
        """Check every address that the host's name has been resolved to.

        Raises
        ------
        AddressRefused
            If webhooks may not be sent to one of them, or there is none.
        """
        kinds = {address: kind_of(address) for address in addresses}
        if not kinds:
            raise AddressRefused(f"{self.host} has no address")
        for address, kind in kinds.items():
            if kind is not None and (kind in _NEVER or not self.is_listed):
                raise AddressRefused(f"{self.host} has the address {address}, which is {kind}")


def target_of(url: str, listed: Iterable[str] = ()) -> WebhookTarget:
    """Return the place that a URL names.

    Parameters
    ----------
    url:
        The URL. It must be ``https``, at port 443 or at one from 1024 up, unless the host is listed.
    listed:
        The hosts that the operator allows more: ``hooks.internal``, or ``127.0.0.1:8080`` for one port of it.

    Raises
    ------
    AddressRefused
        If it cannot be a webhook's.
    """
    parsed = _parsed(url)
    host = _host_of(parsed)
    port = parsed.port or _PORTS.get(parsed.scheme, 0)
    entries = {entry.lower() for entry in listed}
    bracketed = f"[{host}]" if ":" in host else host
    is_listed = not entries.isdisjoint({host, bracketed, f"{bracketed}:{port}"})
    _require_form(parsed, host, port, is_listed=is_listed)
    target = WebhookTarget(parsed, host, port, is_listed)
    if _is_address(host):
        target.require([host])
    return target


def kind_of(text: str) -> str | None:
    """Return the kind of an address that is not public: ``"private"``; None if it is public.

    An IPv4 address inside an IPv6 address counts as itself.
    """
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = _ipv4_in(address)
        if inner is not None:
            return kind_of(str(inner))
    if address in _METADATA:
        return "a metadata service"
    for network, kind in _NOT_PUBLIC:
        if address.version == network.version and address in network:
            return kind
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return "reserved"
    return None


def _ipv4_in(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that a mapped or translated (NAT64) address stands for."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _parsed(url: str) -> httpx2.URL:
    if len(url) > MOST_URL_CHARACTERS:
        raise AddressRefused(f"it has {len(url)} characters, over {MOST_URL_CHARACTERS}")
    try:
        # The parser of the client that will send to it: two parsers could see two hosts.
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError):
        raise AddressRefused("it is not a URL") from None
    if not parsed.raw_host:
        raise AddressRefused("it names no host; write https://example.org/path")
    return parsed


def _host_of(parsed: httpx2.URL) -> str:
    host = parsed.raw_host.decode().lower().removesuffix(".")
    if not (_is_address(host) or _NAME.fullmatch(host)):
        raise AddressRefused("its host is not a name or an address")
    return host


def _require_form(parsed: httpx2.URL, host: str, port: int, *, is_listed: bool) -> None:
    if parsed.scheme not in _PORTS:
        raise AddressRefused("its scheme is not https")
    if parsed.userinfo or parsed.fragment:
        raise AddressRefused("it has a password or a fragment; remove it, and verify the signature instead")
    if not 0 < port <= MOST_PORT:
        raise AddressRefused(f"{port} is not a port")
    if is_listed:
        return
    if parsed.scheme != "https":
        raise AddressRefused(f"its scheme is not https; only hosts that the operator lists may use http, unlike {host}")
    if port != HTTPS_PORT and port < FIRST_FREE_PORT:
        # The lower ports belong to other protocols, whose servers should not be bothered from here.
        raise AddressRefused(f"its port is {port}; use {HTTPS_PORT}, or one from {FIRST_FREE_PORT} up")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
