"""One connection of the load generator: an asyncio protocol that carries requests one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias, cast

from penstock_load.error_codes import code_of_body, code_of_stream
from penstock_load.request_mix import PreparedRequest
from penstock_load.response_reader import MalformedResponseError, ResponseReader
from penstock_load.shots import Fate, Shot

Ended: TypeAlias = Callable[[Fate], None]


class LoadConnection(asyncio.Protocol):
    """A connection, with the response that it is reading.

    Parameters
    ----------
    clock:
        Returns the time in seconds.
    lost:
        Called when the connection has ended.
    """

    def __init__(self, clock: Callable[[], float], lost: Callable[[LoadConnection], None]) -> None:
        self.carried = 0
        """The number of requests that were sent on it."""
        self.latest_chunk: float | None = None
        """The time of the latest chunk of the response; None before the first one."""
        self._clock = clock
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._shot: Shot | None = None
        self._ended: Ended | None = None
        self._reader = ResponseReader()

    @property
    def is_open(self) -> bool:
        """True while the connection is made and has not ended."""
        return self._transport is not None

    @property
    def is_reusable(self) -> bool:
        """True if it may carry another request, now that the response is complete."""
        if self._transport is None or self._transport.get_write_buffer_size():  # answered before it was read in full
            return False
        return self._reader.is_complete and self._reader.is_reusable

    @property
    def has_response(self) -> bool:
        """True once a byte of the response has arrived."""
        return self._reader.has_begun

    def send(self, request: PreparedRequest, shot: Shot, ended: Ended) -> None:
        """Send a request on an idle connection.

        Parameters
        ----------
        request:
            The request.
        shot:
            Its record, which gets everything that is known of the response.
        ended:
            Called with the fate of the request, unless ``hang_up`` comes first.
        """
        assert self._transport is not None
        self._reader = ResponseReader(is_head=request.is_head)
        self.latest_chunk = None
        self._shot, self._ended = shot, ended
        self.carried += 1
        self._transport.write(request.content)

    def hang_up(self) -> None:
        """Close the connection at once, without waiting for what is not sent yet."""
        if self._shot is not None:
            self._describe(self._shot)
            self._shot = None
        if self._transport is not None:
            self._transport.abort()

    # ---- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is registered as a base transport only

    def data_received(self, data: bytes) -> None:
        """Read a part of the response."""
        shot = self._shot
        if shot is None:  # a server that speaks unasked: a 408 for an idle connection, for example
            self.hang_up()
            return
        try:
            chunks = self._reader.feed(data)
        except MalformedResponseError as error:
            shot.reason = str(error)
            self._end(shot, Fate.MALFORMED)
            return
        if chunks and self._reader.is_chunked:
            self._note_chunks(shot, chunks)
        if self._reader.is_complete:
            self._end(shot, Fate.ANSWERED)

    def connection_lost(self, exc: Exception | None) -> None:
        """Find out whether the response was complete."""
        self._transport = None
        self._lost(self)
        shot = self._shot
        if shot is None:
            return
        if self._reader.has_begun:
            is_complete = exc is None and self._reader.end()
            self._end(shot, Fate.ANSWERED if is_complete else Fate.CUT)
        else:
            self._end(shot, Fate.CLOSED if exc is None else Fate.RESET)

    # ----

    def _note_chunks(self, shot: Shot, chunks: int) -> None:
        now = self._clock()
        if self.latest_chunk is None:
            shot.first = now
        else:
            shot.gaps.append(now - self.latest_chunk)
        shot.gaps.extend([0.0] * (chunks - 1))  # they arrived together
        self.latest_chunk = now

    def _end(self, shot: Shot, fate: Fate) -> None:
        ended = self._ended
        assert ended is not None
        self._describe(shot)
        self._shot = self._ended = None
        if fate is not Fate.ANSWERED or not self.is_reusable:
            self.hang_up()
        ended(fate)

    def _describe(self, shot: Shot) -> None:
        reader = self._reader
        shot.status = reader.status
        shot.body = bytes(reader.body)
        if shot.status >= 400:
            shot.code = code_of_body(shot.body)
        elif reader.is_chunked:
            shot.code = code_of_stream(reader.tail)
