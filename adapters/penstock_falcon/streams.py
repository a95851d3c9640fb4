"""The body of a streamed ASGI response."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from penstock.errors import PenstockError
from penstock.hosting import Call
from penstock_falcon.formats import KEEP_ALIVE_SECONDS, Framing
from penstock_falcon.hangups import Hangup
from penstock_falcon.problems import error_object

# A piece counts as read when the server asks for the next one. Large ones would make a slow reader look like one that
# does not read at all.
PIECE_BYTES = 1 << 16
# How long a client that is slow to read may still take for what was written, once its job has failed.
LAST_WRITE_SECONDS = 1.0


class StreamCutShort(asyncio.CancelledError):
    """Ends a response that must not end cleanly.

    Of all exceptions a server takes this kind for what it is: gunicorn closes the connection without the last chunk and
    without a line in the log. Uvicorn closes it as well, with a traceback in the log.
    """


class StreamBody:
    """An iterator over the pieces of a streamed body, made for Falcon's ``resp.stream``.

    It is either waiting for the job or being written (Falcon is in ``send``), and watches the clock in both: a silent
    job gets keep-alives in between, a client that does not read loses its connection.

    Parameters
    ----------
    call:
        The job. It is cancelled if the response ends first.
    framing:
        How chunks are written.
    hangup:
        What listens for the client's going; stopped with the response.
    first:
        Chunks that were taken already.
    debug:
        Whether a handler's error may be shown.
    on_close:
        Called once, when the response has ended, however it did.
    """

    def __init__(
        self,
        call: Call,
        framing: Framing,
        hangup: Hangup,
        first: list[bytes],
        *,
        debug: bool,
        on_close: Callable[[], None],
    ) -> None:
        self._call = call
        self._on_close: Callable[[], None] | None = on_close
        self._framing = framing
        self._hangup = hangup
        self._first = first
        self._debug = debug
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._waiter: asyncio.Future[None] | None = None
        self._since = self._loop.time()
        """When waiting or writing, whichever it is now, began."""
        self._ending: type[BaseException] | None = None
        """What the next step raises, once the last piece is out."""
        idle = call.endpoint.timeouts.idle
        # The engine has the same limit, and the better words; this is for what it cannot see any more.
        self._write_limit = math.inf if idle is None else idle + LAST_WRITE_SECONDS
        self._wait_limit = KEEP_ALIVE_SECONDS if framing.keep_alive else math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._arm()
        call.on_progress = self._on_progress

    def __aiter__(self) -> StreamBody:
        return self

    async def __anext__(self) -> bytes:
        if self._ending is not None:
            raise self._ending
        piece = self._next_piece()
        if piece is None:
            await self._wait()
            piece = self._next_piece()
        self._since = self._loop.time()
        if piece is None:
            return self._framing.keep_alive
        if not piece and self._ending is not None:
            raise self._ending
        return piece

    async def close(self) -> None:
        """Let go of everything; Falcon calls this however the response ended."""
        self._hangup.stop()
        self._call.on_progress = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._call.outcome is None:
            self._call.cancel("the response was closed")
        if self._on_close is not None:
            self._on_close()
            self._on_close = None

    def _next_piece(self) -> bytes | None:
        """What has arrived, as one piece of bounded size; None if there is nothing yet."""
        chunks = self._first + self._call.take(PIECE_BYTES)
        self._first = []
        outcome = None if self._call.has_chunks else self._call.outcome
        if not chunks and outcome is None:
            return None
        piece = self._framing.frame(chunks) if chunks else b""
        if isinstance(outcome, PenstockError):
            self._ending = StreamCutShort
            return piece + self._framing.error(error_object(outcome, debug=self._debug))
        if outcome is not None:
            self._ending = StopAsyncIteration
            return piece + self._framing.end
        return piece

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        self._since = self._loop.time()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _on_progress(self) -> None:
        if self._waiter is not None:
            self._wake()
        elif isinstance(self._call.outcome, PenstockError):
            self._write_limit = min(self._write_limit, LAST_WRITE_SECONDS)
            self._arm()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _due(self) -> float:
        return self._since + (self._write_limit if self._waiter is None else self._wait_limit)

    def _arm(self) -> None:
        """Set the one timer, once per limit and not once per chunk: whoever is early when it rings sets it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # The other of the two states may begin now, and must not be overslept.
        due = min(self._due(), self._loop.time() + min(self._write_limit, self._wait_limit))
        if due < math.inf:
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        if self._loop.time() >= self._due():
            if self._waiter is None:
                self._give_up_writing()
                return
            self._since = self._loop.time()
            self._wake()
        self._arm()

    def _give_up_writing(self) -> None:
        """Nothing was read for too long: Falcon is stuck in ``send``, and only cancelling gets it out of there."""
        self._timer = None
        self._call.cancel("the client does not read")
        if self._task is not None:
            self._task.cancel()
