"""The load generator that sends through ``penstock_client``: with its retries, its budget and its breaker."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import httpx2

from penstock_client import AsyncClient, ClientError, Limits, Timeouts, errors
from penstock_load.load_callers import CallerOptions
from penstock_load.load_generator import LONGEST_TAIL
from penstock_load.request_mix import PreparedRequest
from penstock_load.server_address import ServerAddress
from penstock_load.shots import Fate, Shot

_FATES: Final[tuple[tuple[type[ClientError], Fate], ...]] = (
    (errors.ResponseError, Fate.ANSWERED),
    (errors.PoolTimeout, Fate.NO_CONNECTION),
    (errors.ConnectTimeout, Fate.UNREACHABLE),
    (errors.TimedOut, Fate.GIVEN_UP),
    (errors.StreamError, Fate.CUT),
)


class ClientGenerator:
    """Makes calls to one address, as ``LoadGenerator`` sends requests.

    A caller's patience is the time-out of its whole call, retries included; for a stream it is the longest wait for
    the first chunk, and for each further one.

    Parameters
    ----------
    address, options, record, tls, clock:
        As for ``LoadGenerator``.
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
        most = options.most_connections
        self._http = httpx2.AsyncClient(
            verify=True if tls is None else tls,
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=60.0),
        )
        patience = options.patience if options.is_stream else None
        self._client = AsyncClient(
            f"{'https' if address.is_secure else 'http'}://{address.authority}",
            limits=Limits(max_connections=most),
            timeouts=Timeouts(first_byte=patience, event=patience),
            http_client=self._http,
        )
        self._calls: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """The number of calls that have not ended."""
        return len(self._calls)

    async def run(self, begin: float, times: Iterable[float], choose: Callable[[], PreparedRequest]) -> None:
        """Make a call at each time, and wait for the end of all; see ``LoadGenerator.run``."""
        try:
            for seconds in times:
                planned = begin + seconds
                await asyncio.sleep(max(0.0, planned - self._clock()))
                self._fire(choose(), planned)
            if self._calls:
                await asyncio.wait(self._calls, timeout=self._options.patience + LONGEST_TAIL)
        finally:
            left = [*self._calls]
            for call in left:
                call.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await self._client.aclose()
            await self._http.aclose()

    def _fire(self, request: PreparedRequest, planned: float) -> None:
        shot = Shot(planned, self._clock())
        call = asyncio.get_running_loop().create_task(self._carry(request, shot))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _carry(self, request: PreparedRequest, shot: Shot) -> None:
        try:
            await (self._read if self._options.is_stream else self._call)(request, shot)
        except ClientError as error:
            _note_error(shot, error)
        finally:
            shot.done = self._clock()
            self._record(shot)

    async def _call(self, request: PreparedRequest, shot: Shot) -> None:
        left = shot.planned + self._options.patience - self._clock()
        if left <= 0:
            shot.fate = Fate.GIVEN_UP
            return
        result = await self._client.call(request.path, request.body, timeout=left, **_options(request))
        shot.requests = len(result.attempts)
        shot.fate, shot.status = Fate.ANSWERED, result.status

    async def _read(self, request: PreparedRequest, shot: Shot) -> None:
        latest: float | None = None
        async with self._client.stream(request.path, request.body, keep_bytes=0, **_options(request)) as events:
            shot.requests, shot.status = len(events.attempts), 200
            async for _ in events:
                now = self._clock()
                if latest is None:
                    shot.first = now
                else:
                    shot.gaps.append(now - latest)
                latest = now
        shot.fate = Fate.ANSWERED


def _options(request: PreparedRequest) -> dict[str, Any]:
    return {"method": request.method, "headers": dict(request.headers)}


def _note_error(shot: Shot, error: ClientError) -> None:
    shot.requests = len(error.attempts)
    shot.error = type(error).__name__
    shot.refused = error.retries_refused
    shot.fate = next((fate for kind, fate in _FATES if isinstance(error, kind)), Fate.FAILED)
    shot.code = getattr(error, "server_code", "") or ("" if shot.fate is Fate.ANSWERED else error.code)
    if isinstance(error, errors.ResponseError):
        shot.status = error.status
    elif shot.fate is Fate.FAILED:
        shot.reason = str(error)
