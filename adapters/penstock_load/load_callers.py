"""The callers that the load generator plays: each sends one request, and gives up when its patience ends."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass

from penstock_load.connections import LoadConnection
from penstock_load.kept_connections import KeptConnections
from penstock_load.request_mix import PreparedRequest
from penstock_load.shots import Fate, Shot

MOST_CONNECTIONS = 10_000
_SHORTEST_TIMER = 0.001  # uvloop's resolution; a shorter timer would spin
_FATES = {
    errno.ECONNREFUSED: Fate.REFUSED,
    errno.ECONNRESET: Fate.RESET,
    errno.EMFILE: Fate.NO_DESCRIPTOR,
    errno.ENFILE: Fate.NO_DESCRIPTOR,
    errno.EADDRNOTAVAIL: Fate.NO_PORT,
}


@dataclass(frozen=True, kw_only=True)
class CallerOptions:
    """The behaviour of all callers of a run.

    Parameters
    ----------
    patience:
        The seconds from the planned start after which a caller gives up, and closes the connection. For streams: the
        longest wait for the first chunk, and then for each further one.
    is_stream:
        The responses are streams.
    keeps_alive:
        Connections carry one request after the other. Otherwise each request has a new one.
    most_connections:
        The highest number of connections at once.
    """

    patience: float
    is_stream: bool = False
    keeps_alive: bool = True
    most_connections: int = MOST_CONNECTIONS


class LoadCaller:
    """One request on its way.

    Parameters
    ----------
    request, shot:
        The request, and its record.
    connections:
        The connections to the server.
    options:
        The behaviour of the caller.
    clock:
        Returns the time in seconds.
    ended:
        Called once, when the request has ended in any way.
    """

    __slots__ = ("_clock", "_connection", "_connections", "_ended", "_opening", "_options", "_timer", "request", "shot")

    def __init__(
        self,
        request: PreparedRequest,
        shot: Shot,
        connections: KeptConnections,
        options: CallerOptions,
        *,
        clock: Callable[[], float],
        ended: Callable[[LoadCaller], None],
    ) -> None:
        self.request = request
        self.shot = shot
        self._connections = connections
        self._options = options
        self._clock = clock
        self._ended = ended
        self._connection: LoadConnection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send the request on an idle connection, or on a new one."""
        self._check_patience()
        if self._timer is None:
            return  # the generator was so late that the caller has left
        connection = self._connections.take()
        if connection is not None:
            self._send(connection)
        else:
            self._open()

    def leave(self, fate: Fate = Fate.UNFINISHED) -> None:
        """Give the request up, and close the connection so that the server notices it."""
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.hang_up()
        self._end(fate)

    def _check_patience(self) -> None:
        waiting_since = self.shot.planned
        if self._options.is_stream and self._connection is not None and self._connection.latest_chunk is not None:
            waiting_since = self._connection.latest_chunk
        left = waiting_since + self._options.patience - self._clock()
        if left > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(left, _SHORTEST_TIMER), self._check_patience)
        else:
            self.leave(Fate.GIVEN_UP)

    def _open(self) -> None:
        if self._connections.is_full:
            self._end(Fate.NO_CONNECTION)
        else:
            self._opening = asyncio.get_running_loop().create_task(self._send_on_new_connection())

    async def _send_on_new_connection(self) -> None:
        try:
            connection = await self._connections.open()
        except OSError as error:
            self._opening = None
            self.shot.reason = str(error)
            self._end(_FATES.get(error.errno or 0, Fate.UNREACHABLE))
            return
        self._opening = None
        if connection.is_open:
            self._send(connection)
        else:
            self._end(Fate.CLOSED)

    def _send(self, connection: LoadConnection) -> None:
        self._connection = connection
        connection.send(self.request, self.shot, self._response_ended)

    def _response_ended(self, fate: Fate) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        was_closing = fate in {Fate.CLOSED, Fate.RESET} and connection.carried > 1
        if was_closing and not self.shot.is_resent:
            # The server has closed an idle connection at the moment when the request was sent, as it may. Browsers and
            # most HTTP libraries send it again then. Without that, the errors would be those of the generator's pool.
            self.shot.is_resent = True
            self._open()
            return
        self._connections.keep(connection)
        self._end(fate)

    def _end(self, fate: Fate) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.shot.fate = fate
        self.shot.done = self._clock()
        self._ended(self)
