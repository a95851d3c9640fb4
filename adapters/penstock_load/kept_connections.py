"""The connections of the load generator to one address: bounded, and kept while they can carry another request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from penstock_load.connections import LoadConnection
from penstock_load.server_address import ServerAddress


class KeptConnections:
    """Opens connections to one address, and keeps the idle ones.

    Parameters
    ----------
    address:
        The server.
    tls:
        The context of TLS connections; None without TLS.
    most:
        The highest number of connections at once.
    keeps_alive:
        Connections are used again.
    clock:
        Returns the time in seconds.
    """

    def __init__(
        self,
        address: ServerAddress,
        tls: ssl.SSLContext | None,
        *,
        most: int,
        keeps_alive: bool,
        clock: Callable[[], float],
    ) -> None:
        self._address = address
        self._tls = tls
        self._most = most
        self._keeps_alive = keeps_alive
        self._clock = clock
        self._number = 0
        self._idle: dict[LoadConnection, None] = {}  # a set that remembers its order

    @property
    def is_full(self) -> bool:
        """True if no further connection may be opened."""
        return self._number >= self._most

    def take(self) -> LoadConnection | None:
        """Return the connection that was used last of all idle ones, or None."""
        return self._idle.popitem()[0] if self._idle else None

    def keep(self, connection: LoadConnection) -> None:
        """Keep a connection that is idle again, or close it if it must not be used again."""
        if self._keeps_alive and connection.is_reusable:
            self._idle[connection] = None
        else:
            connection.hang_up()

    async def open(self) -> LoadConnection:
        """Return a new connection.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        self._number += 1
        connection = LoadConnection(self._clock, self._forget)
        try:
            await self._connect(lambda: connection)
        except BaseException:
            # A caller may give up in the moment in which the connection is made.
            if connection.is_open:
                connection.hang_up()
            else:
                self._number -= 1
            raise
        return connection

    async def _connect(self, factory: Callable[[], LoadConnection]) -> None:
        loop = asyncio.get_running_loop()
        address = self._address
        name = address.server_name or None if self._tls else None
        if address.port is None:
            await loop.create_unix_connection(factory, address.host, ssl=self._tls, server_hostname=name)
        else:
            await loop.create_connection(factory, address.host, address.port, ssl=self._tls, server_hostname=name)

    def _forget(self, connection: LoadConnection) -> None:
        self._idle.pop(connection, None)
        self._number -= 1

    def close(self) -> None:
        """Close the idle connections."""
        for connection in [*self._idle]:
            connection.hang_up()
        self._idle.clear()
