"""The sockets that a server listens on: opened, or inherited from systemd or from the server that it replaces."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from penstock_gunicorn.addresses import DescriptorAddress, ListenAddress, ListenSettings, UnixAddress
from penstock_gunicorn.start_errors import cannot_listen
from penstock_gunicorn.unix_sockets import file_identity, remove_file, remove_stale_file

# See sd_listen_fds(3).
FIRST_DESCRIPTOR = 3
_SYSTEMD_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
# In it, a master that is upgraded in place names the sockets to its successor.
_GUNICORN_VARIABLE = "GUNICORN_FD"
# Other processes may go on serving a socket that this one closes. Older versions of Python keep the file anyway.
_KEEP_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class Listener:
    """A listening socket, with the methods that gunicorn's arbiter and gunicorn workers call.

    Parameters
    ----------
    sock:
        The socket.

    Attributes
    ----------
    path:
        The path of its file; "" if it has none.
    is_companions:
        True if it is for the server beside HTTP: see ``Companion``.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.is_companions = False
        self._name: Any = sock.getsockname()
        if isinstance(self._name, bytes):  # an abstract socket
            self._name = os.fsdecode(self._name)
        self.path = self._name if isinstance(self._name, str) and not self._name.startswith("\0") else ""
        # A master that is upgraded in place passes it on.
        sock.set_inheritable(True)

    def __str__(self) -> str:
        return self.url("http")

    @property
    def is_local(self) -> bool:
        """True if only programs on this machine can connect: it is a Unix socket, or on the loopback interface."""
        return isinstance(self._name, str) or ipaddress.ip_address(self._name[0]).is_loopback

    def url(self, scheme: str) -> str:
        """Return the URL at which it can be reached; that of a Unix socket begins with ``unix:``."""
        if isinstance(self._name, str):
            return f"unix:{self._name.replace(chr(0), '@', 1)}"
        host, port = self._name[:2]
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def serve(
        self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], Any], backlog: int, tls: Mapping[str, Any]
    ) -> Any:
        """Accept connections, each with a ``protocol``; return the server. ``tls`` are the event loop's options."""
        if self.sock.family == socket.AF_UNIX:
            return await loop.create_unix_server(protocol, sock=self.sock, backlog=backlog, **tls, **_KEEP_FILE)
        return await loop.create_server(protocol, sock=self.sock, backlog=backlog, **tls)

    def fileno(self) -> int:
        """Return the file descriptor; -1 once it is closed."""
        return self.sock.fileno()

    def getsockname(self) -> tuple[Any, ...]:
        """Return the address as a tuple: gunicorn would remove the file of a path, also one made by systemd."""
        return self._name if isinstance(self._name, tuple) else (self._name, 0)

    def close(self) -> None:
        """Close the socket in this process."""
        self.sock.close()


class Listeners(Sequence[Listener]):
    """All sockets of a server.

    Parameters
    ----------
    sockets:
        The sockets, which listen. They are now owned by this object.
    made:
        The paths of the files that this server has made, and is to remove.

    Attributes
    ----------
    are_held:
        True if systemd keeps the sockets open when this server has ended.
    """

    def __init__(self, sockets: Sequence[socket.socket], made: Sequence[str] = (), *, are_held: bool = False) -> None:
        self._listeners = [Listener(sock) for sock in sockets]
        self._made = {path: file_identity(path) for path in made}
        self._pid = os.getpid()
        self.are_held = are_held

    def __len__(self) -> int:
        return len(self._listeners)

    def __iter__(self) -> Iterator[Listener]:
        return iter(self._listeners)

    def __getitem__(self, place: Any) -> Any:
        return self._listeners[place]

    @property
    def are_local(self) -> bool:
        """True if only programs on this machine can connect to any of them."""
        return all(listener.is_local for listener in self)

    def add_companions(self, sockets: Sequence[socket.socket]) -> None:
        """Add sockets for the server beside HTTP. They come last."""
        added = [Listener(sock) for sock in sockets]
        for listener in added:
            listener.is_companions = True
        self._listeners += added

    def mark_companions(self) -> None:
        """Note that the last socket, which was inherited from a server like this one, is for the server beside HTTP."""
        self._listeners[-1].is_companions = True

    def close(self) -> None:
        """Close the sockets in this process."""
        for listener in self._listeners:
            listener.close()

    def withdraw(self) -> None:
        """Remove the files of the Unix sockets that this server has made, before their backlog is accepted.

        No client can then come between the last look at the backlog and the end of the socket.
        """
        for path, identity in self._made.items():
            remove_file(path, identity)

    def remove_files(self) -> None:
        """Remove the files of the Unix sockets that this process has made, after all processes have closed them."""
        if os.getpid() != self._pid:
            return
        self.close()
        for path in self._made:
            remove_stale_file(path)


def open_listeners(addresses: Sequence[ListenAddress], settings: ListenSettings | None = None) -> Listeners:
    """Return a listening socket for each address.

    Raises
    ------
    StartError
        If one cannot be opened; then none is, and no file is left.
    """
    sockets: list[socket.socket] = []
    made: list[str] = []
    try:
        for address in addresses:
            sockets.append(address.open(settings or ListenSettings()))
            if isinstance(address, UnixAddress) and not address.is_abstract:
                made.append(address.path)
    except BaseException:
        Listeners(sockets, made).remove_files()
        raise
    return Listeners(sockets, made)


def inherited_listeners(
    addresses: Sequence[ListenAddress], environ: MutableMapping[str, str] = os.environ
) -> Listeners | None:
    """Return the sockets that this process has inherited, or None: from systemd, or from the server that it replaces.

    The variables that name them are removed, so that no child takes them for its own.

    Parameters
    ----------
    addresses:
        The addresses of this server. Files of these, if their sockets are inherited from another server, are now this
        server's.
    environ:
        The environment of this process.

    Raises
    ------
    StartError
        If one is not a socket, or not one that can listen.
    """
    predecessors = environ.pop(_GUNICORN_VARIABLE, None)
    if predecessors is not None:
        listeners = _adopted(predecessors.split(","))
        paths = {address.path for address in addresses if isinstance(address, UnixAddress)}
        made = [listener.path for listener in listeners if listener.path in paths]
        return Listeners([listener.sock for listener in listeners], made)
    count, pid = environ.get("LISTEN_FDS", ""), environ.get("LISTEN_PID", "")
    if pid != str(os.getpid()):
        return None
    for name in _SYSTEMD_VARIABLES:
        environ.pop(name, None)
    if not count.isdecimal() or int(count) < 1:
        raise cannot_listen("the sockets of systemd", f"LISTEN_FDS is {count!r}, which is not a number of sockets")
    return _adopted(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)))


def _adopted(numbers: Sequence[int | str]) -> Listeners:
    sockets = [DescriptorAddress(int(number)).open(ListenSettings()) for number in numbers]
    return Listeners(sockets, are_held=True)
