"""The address to which the requests go: resolved once, so that the run waits for no name server."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from penstock_load.input_errors import LoadError

_PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"[!-~]*")


@dataclass(frozen=True, kw_only=True)
class ServerAddress:
    """A server, and the path of the URL that named it.

    Parameters
    ----------
    host:
        An IP address, or the path of a Unix socket if ``port`` is None.
    port:
        The port, or None for a Unix socket.
    authority:
        The value of the header ``Host``.
    path:
        The path and query of the URL.
    is_own:
        It is a loopback address or a Unix socket, and so on this machine.
    server_name:
        The name that a certificate must have; empty without TLS.
    """

    host: str
    port: int | None
    authority: str
    path: str
    is_own: bool
    server_name: str = ""

    @property
    def is_secure(self) -> bool:
        """True if the connections use TLS."""
        return bool(self.server_name)


def address_of(url: str, *, unix_socket: str | None = None) -> ServerAddress:
    """Return the address that a URL means.

    Parameters
    ----------
    url:
        A URL with ``http`` or ``https``.
    unix_socket:
        The path of a Unix socket on which to connect, in place of the URL's host.

    Raises
    ------
    LoadError
        If the URL cannot be used, or its host is unknown.
    """
    parts = _split(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    secure_name = (parts.hostname or "") if parts.scheme == "https" else ""
    if unix_socket is not None:
        return ServerAddress(
            host=unix_socket, port=None, authority=parts.netloc, path=path, is_own=True, server_name=secure_name
        )
    port = parts.port if parts.port is not None else _PORTS[parts.scheme]
    host, is_own = _resolved(parts.hostname or "", port)
    return ServerAddress(
        host=host, port=port, authority=parts.netloc, path=path, is_own=is_own, server_name=secure_name
    )


def check_path(path: str) -> str:
    """Return a path that may stand in a request.

    Raises
    ------
    LoadError
        If it does not begin with a slash, or has characters that must be percent-encoded.
    """
    if not path.startswith("/"):
        raise LoadError(f"the path {path!r} does not begin with a slash")
    if not _PATH.fullmatch(path):
        raise LoadError(f"the path {path!r} has spaces or other characters that must be percent-encoded")
    return path


def tls_context(*, ca_file: str | None = None, verifies: bool = True) -> ssl.SSLContext:
    """Return the TLS context of the connections.

    Parameters
    ----------
    ca_file:
        A file with the certificates to trust in place of the system's.
    verifies:
        False accepts any certificate.

    Raises
    ------
    LoadError
        If the file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise LoadError(f"cannot use the certificates in {ca_file}: {error}") from None
    if not verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # read only here: a port out of range is found as it is read
    except ValueError as error:
        raise LoadError(f"{url!r} is not a URL: {error}") from None
    if parts.scheme not in _PORTS or "://" not in url:
        raise LoadError(f"{url!r} does not begin with http:// or https://")
    if not parts.hostname:
        raise LoadError(f"{url!r} has no host")
    if "@" in parts.netloc:
        raise LoadError("the URL has a user name; pass credentials as a header: -H 'Authorization: ...'")
    if not _PATH.fullmatch(parts.netloc):
        raise LoadError(f"the host in {url!r} has characters that a host cannot have")
    if parts.port == 0:
        raise LoadError(f"{url!r} has port 0, on which nothing listens")
    check_path(parts.path or "/")
    check_path(f"/{parts.query}")
    return parts


def _resolved(host: str, port: int) -> tuple[str, bool]:
    """Return an address of a host, and whether all of them are loopback addresses."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LoadError(f"the host {host!r} has no address: {error}") from None
    addresses = [str(entry[4][0]) for entry in found]
    is_own = all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses)
    # "localhost" is often ::1 first, while servers listen on 127.0.0.1: IPv4 first, as most clients fall back to it.
    return min(addresses, key=lambda address: ":" in address), is_own
