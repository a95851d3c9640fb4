"""The load generator: sends the requests of a schedule at their times, whatever has become of the earlier ones."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Iterable

from penstock_load.kept_connections import KeptConnections
from penstock_load.load_callers import CallerOptions, LoadCaller
from penstock_load.request_mix import PreparedRequest
from penstock_load.server_address import ServerAddress
from penstock_load.shots import Fate, Shot

LONGEST_TAIL = 30.0
"""The seconds after the end of the patience at which the streams that still run are hung up."""


class LoadGenerator:
    """Sends requests to one address.

    Parameters
    ----------
    address:
        The server.
    options:
        The behaviour of the callers.
    record:
        Called once for each request, with its record, when it has ended.
    tls:
        The context of TLS connections; None without TLS.
    clock:
        Returns the time in seconds; it never goes back.
    """

    def __init__(
        self,
        address: ServerAddress,
        options: CallerOptions,
        record: Callable[[Shot], None],
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._options = options
        self._record = record
        self._clock = clock
        self._connections = KeptConnections(
            address, tls, most=options.most_connections, keeps_alive=options.keeps_alive, clock=clock
        )
        self._callers: set[LoadCaller] = set()
        self._last_ended = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """The number of requests that have not ended."""
        return len(self._callers)

    async def run(self, begin: float, times: Iterable[float], choose: Callable[[], PreparedRequest]) -> None:
        """Send a request at each time, and wait for the end of all.

        If it is cancelled, the requests that are in flight are hung up and recorded as unfinished.

        Parameters
        ----------
        begin:
            The start of the run, on the generator's clock.
        times:
            The times of the requests in seconds after the start, in rising order.
        choose:
            Returns the next request.
        """
        try:
            for seconds in times:
                planned = begin + seconds
                # Even a generator that is late must yield, or it would only send, and read no responses.
                await asyncio.sleep(max(0.0, planned - self._clock()))
                self.fire(choose(), planned)
            await self.wait_for_all()
        finally:
            self.close()
            await asyncio.sleep(0)  # the connections end in the next turn of the loop

    def fire(self, request: PreparedRequest, planned: float) -> Shot:
        """Send a request now, which was meant to be sent at ``planned``; return its record."""
        shot = Shot(planned, self._clock())
        caller = LoadCaller(request, shot, self._connections, self._options, clock=self._clock, ended=self._forget)
        self._callers.add(caller)
        caller.start()
        return shot

    def _forget(self, caller: LoadCaller) -> None:
        self._callers.discard(caller)
        self._record(caller.shot)
        if not self._callers:
            self._last_ended.set()

    async def wait_for_all(self) -> None:
        """Wait until all requests have ended. A stream may take 30 s longer than the patience."""
        self._last_ended.clear()
        if self._callers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.patience + LONGEST_TAIL):
                    await self._last_ended.wait()

    def close(self) -> None:
        """Hang up all requests that are in flight, and close the connections."""
        for caller in [*self._callers]:
            caller.leave(Fate.UNFINISHED)
        self._connections.close()
