"""The listening sockets of a gunicorn worker, and their end."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Sequence
from typing import Any

from penstock_gunicorn.packet_filters import drop_handshakes
from penstock_gunicorn.serving_processes import ServingProcesses

# Time for handshakes that have begun: a round trip.
HANDSHAKE_TIME = 0.1
# Time in which the backlog is accepted.
BACKLOG_LIMIT = 1.0
POLL_INTERVAL = 0.01


class ListenerGroup:
    """All listening sockets of a gunicorn worker.

    Parameters
    ----------
    sockets:
        gunicorn's sockets.
    servers:
        The event loop's servers, which accept their connections; this class empties the list when it closes them.
    """

    def __init__(self, sockets: Sequence[Any], servers: list[asyncio.Server]) -> None:
        self._sockets = sockets
        self._servers = servers

    def has_backlog(self) -> bool:
        """Return whether this process is to accept a connection."""
        if not self._servers:
            return False
        poll = select.poll()
        for listener in self._sockets:
            poll.register(listener.sock, select.POLLIN)
        return bool(poll.poll(0))

    async def end_for_all(self, serving: ServingProcesses, withdraw: Callable[[], None]) -> None:
        """Close the sockets once every process has drained; until then this one has refused what came.

        If another one still serves them, they are left to it.

        Parameters
        ----------
        serving:
            The processes.
        withdraw:
            Removes the files of the sockets, so that no client finds them any more.
        """
        if serving.leave():
            withdraw()
            await self.end()
        else:
            self.close()

    async def end(self) -> None:
        """Close the sockets, once the connections that the kernel has begun are accepted. For the last one to do so."""
        if self._servers:
            for listener in self._sockets:
                drop_handshakes(listener.sock)
            await asyncio.sleep(HANDSHAKE_TIME)
            give_up_at = asyncio.get_running_loop().time() + BACKLOG_LIMIT
            while self.has_backlog() and asyncio.get_running_loop().time() < give_up_at:  # noqa: ASYNC110 - no event
                await asyncio.sleep(POLL_INTERVAL)
        self.close()

    def close(self) -> None:
        """Close the sockets in this process. The backlog is lost unless another process has them open."""
        for server in self._servers:
            server.close()
        self._servers.clear()
