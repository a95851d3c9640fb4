"""The addresses that a server may listen on, and the sockets for them."""

from __future__ import annotations

import os
import re
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from penstock.hosting import LONGEST_SOCKET_PATH_BYTES
from penstock_gunicorn.start_errors import cannot_listen
from penstock_gunicorn.unix_sockets import bind_file

BACKLOG = 2048
DEFAULT_SOCKET_MODE = 0o660
MOST_PORT = 65535
FORMS = "HOST:PORT, [IPV6]:PORT, unix:PATH, unix:@NAME or fd://NUMBER"
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_TCP = re.compile(r"(?:\[(?P<v6>[^\[\]]*:[^\[\]]*)\]|(?P<host>[^\[\]:/\s]+)):(?P<port>\d{1,5})", re.ASCII)
_DESCRIPTOR = re.compile(r"fd://(\d{1,9})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
    """The settings of listening sockets.

    Parameters
    ----------
    backlog:
        The number of connections that may wait to be accepted.
    socket_mode:
        The permissions of the files of Unix sockets.
    """

    backlog: int = BACKLOG
    socket_mode: int = DEFAULT_SOCKET_MODE


class ListenAddress(ABC):
    """An address to listen on. Its text is used in messages."""

    advice = "choose another address with --bind"

    @abstractmethod
    def bind(self, settings: ListenSettings) -> socket.socket:
        """Return a listening socket, or raise an ``OSError``."""

    def open(self, settings: ListenSettings) -> socket.socket:
        """Return a listening socket.

        Raises
        ------
        StartError
            If the address is in use, not permitted, or not there.
        """
        try:
            sock = self.bind(settings)
        except OSError as error:
            raise cannot_listen(self, error, self.advice) from None
        sock.setblocking(False)
        return sock


@dataclass(frozen=True)
class TcpAddress(ListenAddress):
    """A host and a port.

    Parameters
    ----------
    host:
        A host name or an address, IPv4 or IPv6.
    port:
        0 picks a free port.
    is_separate:
        True to leave the port's IPv4 connections to another socket, if this is an IPv6 address.
    advice:
        The fix, for messages.
    """

    host: str
    port: int
    is_separate: bool = False
    advice: str = ListenAddress.advice

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"

    def bind(self, settings: ListenSettings) -> socket.socket:
        """Return a listening socket, or raise an ``OSError``."""
        return open_listener(self.host, self.port, backlog=settings.backlog, is_separate=self.is_separate)


@dataclass(frozen=True)
class UnixAddress(ListenAddress):
    """The path of a Unix socket, or the name of an abstract one.

    Parameters
    ----------
    path:
        An absolute path; ``@`` and a name for an abstract socket, which has no file.
    """

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def is_abstract(self) -> bool:
        """True if there is no file."""
        return self.path.startswith("@")

    def bind(self, settings: ListenSettings) -> socket.socket:
        """Return a listening socket, or raise an ``OSError``."""
        size = len(os.fsencode(self.path))
        if size > LONGEST_SOCKET_PATH_BYTES:
            raise OSError(f"the path has {size} bytes, and Linux allows {LONGEST_SOCKET_PATH_BYTES}")
        sock = socket.socket(socket.AF_UNIX)
        try:
            if self.is_abstract:
                sock.bind(f"\0{self.path[1:]}")
                sock.listen(settings.backlog)
            else:
                bind_file(sock, self.path, settings.socket_mode, settings.backlog)
        except BaseException:
            sock.close()
            raise
        return sock


@dataclass(frozen=True)
class DescriptorAddress(ListenAddress):
    """A socket that this process has inherited.

    Parameters
    ----------
    number:
        Its file descriptor.
    """

    number: int
    advice = "the program that starts the server must open the socket and pass it on"

    def __str__(self) -> str:
        return f"fd://{self.number}"

    def bind(self, settings: ListenSettings) -> socket.socket:
        """Return a listening socket, or raise an ``OSError``."""
        sock = socket.socket(fileno=self.number)
        try:
            self._listen(sock, settings)
        except BaseException:
            sock.close()
            raise
        return sock

    def _listen(self, sock: socket.socket, settings: ListenSettings) -> None:
        if sock.type != socket.SOCK_STREAM or sock.family not in (*_INTERNET, socket.AF_UNIX):
            raise OSError("it is a socket of another kind than TCP or Unix stream")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            if sock.family in _INTERNET and sock.getsockname()[1] == 0:
                raise OSError("the socket is not bound to an address")
            sock.listen(settings.backlog)


def open_listener(host: str, port: int, *, backlog: int = BACKLOG, is_separate: bool = False) -> socket.socket:
    """Return a bound, listening socket.

    gunicorn takes it over. Left to bind by itself, it would repeat that for five seconds and log two lines each time.

    Parameters
    ----------
    host:
        A host name or an address, IPv4 or IPv6.
    port:
        0 picks a free port.
    backlog:
        The number of connections that may wait to be accepted.
    is_separate:
        True to leave the port's IPv4 connections to another socket, if this is an IPv6 address.

    Raises
    ------
    OSError
        If the host is unknown, or the port is in use or not permitted.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_separate and family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def parse_address(text: str) -> ListenAddress:
    """Return the address that a text means.

    Raises
    ------
    StartError
        If it has none of the forms.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if path in {"", "@"} or path.endswith("/"):
            raise cannot_listen(text, "there is no file name", "write unix:/run/penstock/app.sock")
        if "\0" in path:
            raise cannot_listen(repr(text), "a path cannot contain a zero byte")
        return UnixAddress(path if path.startswith("@") else str(Path(path).absolute()))
    if descriptor := _DESCRIPTOR.fullmatch(text):
        return DescriptorAddress(int(descriptor[1]))
    match = _TCP.fullmatch(text)
    if match is None:
        raise cannot_listen(repr(text), "it is not an address", f"write {FORMS}")
    if int(match["port"]) > MOST_PORT:
        raise cannot_listen(repr(text), f"a port is at most {MOST_PORT}")
    return TcpAddress(match["v6"] or match["host"], int(match["port"]))


def parse_addresses(texts: tuple[str, ...]) -> list[ListenAddress]:
    """Return the addresses that several texts mean.

    An IPv6 socket takes the IPv4 connections of its port too, unless these have an address of their own.

    Raises
    ------
    StartError
        If one has none of the forms, or is there twice.
    """
    addresses = [parse_address(text) for text in texts]
    for place, address in enumerate(addresses):
        if address in addresses[:place] and getattr(address, "port", None) != 0:
            raise cannot_listen(address, "the address is there twice")
    v4_ports = {address.port for address in addresses if isinstance(address, TcpAddress) and ":" not in address.host}
    return [
        TcpAddress(address.host, address.port, is_separate=address.port in v4_ports)
        if isinstance(address, TcpAddress)
        else address
        for address in addresses
    ]
