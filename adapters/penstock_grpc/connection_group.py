"""All connections of a process: each has a socket with a name, by which a call finds the address of its client."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import resource
import shutil
import socket
import tempfile
from pathlib import Path

from penstock.hooks import log_event
from penstock_grpc.relayed_connection import LibraryConnection, RelayedConnection

# Each takes three descriptors, and HTTP and the workers need some too.
DESCRIPTORS_PER_CONNECTION = 8


class ConnectionGroup:
    """The connections, and the folder of their Unix sockets, which only this user may enter.

    Attributes
    ----------
    address:
        The address at which the library is to listen.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-grpc-"))
        self._path = str(self._folder / "s")
        self.address = f"unix:{self._path}"
        self._numbers = itertools.count(1)
        self._names: dict[RelayedConnection, str] = {}
        self._peers: dict[str, str] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._must_newcomers_leave = False
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // DESCRIPTORS_PER_CONNECTION

    def __len__(self) -> int:
        return len(self._names)

    def new(self) -> RelayedConnection:
        """Return the protocol of a new connection."""
        return RelayedConnection(self)

    def peer_of(self, library_peer: str) -> str | None:
        """Return the address of the client whose connection the library knows by this name; None if there is none."""
        return self._peers.get(library_peer)

    def ask_to_leave(self, *, has_successor: bool) -> None:
        """Ask all clients to make their next calls on another connection.

        Those that come later are asked too if these calls have somewhere to go. Otherwise, they would only come again.
        """
        self._must_newcomers_leave = has_successor
        for connection in list(self._names):
            connection.ask_to_leave()

    def close(self) -> None:
        """Close all connections, and remove the folder."""
        for connection in list(self._names):
            connection.abort()
        shutil.rmtree(self._folder, ignore_errors=True)

    # ---- for connections

    def opened(self, connection: RelayedConnection) -> None:
        """Have the library serve a new connection."""
        if len(self._names) >= self._most:
            log_event(logging.WARNING, "too-many-connections", f"{self._most} gRPC connections are open; refusing more")
            connection.abort()
            return
        name = self._names[connection] = str(self._folder / f"{next(self._numbers):x}")
        self._peers[f"unix:{name}"] = connection.peer
        if self._must_newcomers_leave:
            connection.ask_to_leave()
        task = asyncio.get_running_loop().create_task(self._connect(connection, name))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def closed(self, connection: RelayedConnection) -> None:
        """Forget a connection."""
        name = self._names.pop(connection, None)
        if name is not None:
            self._peers.pop(f"unix:{name}", None)

    async def _connect(self, connection: RelayedConnection, name: str) -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            sock.bind(name)
            await loop.sock_connect(sock, self._path)
            os.unlink(name)  # noqa: PTH108 - a system call on memory; the library keeps the name
            await loop.create_unix_connection(lambda: LibraryConnection(connection), sock=sock)
        except OSError as error:
            sock.close()
            log_event(logging.ERROR, "grpc-connection-failed", f"a gRPC connection could not be served: {error}")
            connection.abort()
