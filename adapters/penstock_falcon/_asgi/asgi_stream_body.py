"""The body of a streamed ASGI response."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from penstock.errors import PenstockError
from penstock.hooks import Framing, PublicError
from penstock.hosting import AnnotationCheck
from penstock_falcon._asgi.asgi_hangups import AsgiWatchedCall
from penstock_falcon._asgi.server_loop import LoopHandle, LoopWaiter, current_task, is_on_asyncio, running_loop
from penstock_falcon._asgi.server_task import TrioStreamCutShort
from penstock_falcon.stream_body import KEEP_ALIVE_SECONDS, StreamBody

# The time that a slow client still has to read what was written, once its job has failed.
LAST_WRITE_SECONDS = 1.0


class AsgiStreamCutShort(asyncio.CancelledError):
    """The end of a response that must not end cleanly.

    This is the exception that servers handle best: gunicorn closes the connection without the last chunk and without a
    line in the log. Uvicorn closes it as well, but logs a traceback.
    """


class AsgiStreamBody(StreamBody[AsgiWatchedCall]):
    """An iterator over the pieces of a streamed body, made for Falcon's ``resp.stream``.

    The body is either waiting for the job, or being written (Falcon is in ``send``). One timer covers both: while the
    job is silent, keep-alives are sent; a client that does not read loses its connection.
    """

    finished = StopAsyncIteration
    cut_short: type[BaseException] = AsgiStreamCutShort

    def __init__(
        self,
        watched: AsgiWatchedCall,
        chunks: list[bytes],
        framing: Framing,
        *,
        annotation: AnnotationCheck | None,
        describe: Callable[[PenstockError], PublicError],
        on_close: Callable[[], None],
    ) -> None:
        super().__init__(watched, chunks, framing, annotation=annotation, describe=describe, on_close=on_close)
        self._call = watched.call
        self._loop = running_loop()
        if not is_on_asyncio():
            self.cut_short = TrioStreamCutShort
        self._task = current_task()
        if self._task is not None:
            self._task.add_done_callback(self._on_task_done)
        self._waiter: LoopWaiter | None = None
        self._since = self._loop.time()
        """The time at which the current wait, or the current write, began."""
        self._is_silent = False
        """True once there was nothing to send for so long that it is time for a keep-alive."""
        idle = self._call.timeouts.idle
        # The engine applies the same limit, with a better message. This one is for what the engine no longer sees.
        self._write_limit = math.inf if idle is None else idle + LAST_WRITE_SECONDS
        self._wait_limit = KEEP_ALIVE_SECONDS if framing.keep_alive else math.inf
        self._timer: LoopHandle | None = None
        self._arm()
        self._call.on_progress = self._on_progress
        if watched.connection is not None:
            watched.connection.stream = self._call

    def __aiter__(self) -> AsgiStreamBody:
        return self

    async def __anext__(self) -> bytes:
        if self._ending is not None:
            raise self._ending
        piece = self._next_piece()
        if piece is None:
            self._is_silent = False
            self._since = self._loop.time()
            while piece is None and not self._is_silent:
                await self._wait()
                piece = self._next_piece()
        self._since = self._loop.time()
        if piece is None:
            return self._framing.keep_alive
        if not piece and self._ending is not None:
            raise self._ending
        return piece

    async def close(self) -> None:
        """Release everything; Falcon calls this however the response ended, once it has begun."""
        if self._task is not None:
            self._task.remove_done_callback(self._on_task_done)
        self._release()

    def _on_task_done(self, _task: object) -> None:
        """Release everything: the task has ended before Falcon began the response, so that nothing else would."""
        self._release()

    def _release(self) -> None:
        self._task = None  # it keeps its last exception, whose traceback leads back here
        self._call.on_progress = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
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
        """Set the one timer, once for each limit and not for each chunk: a timer that rings early is set again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # The body may change to the other state meanwhile, and the timer must not ring too late for that one.
        due = min(self._due(), self._loop.time() + min(self._write_limit, self._wait_limit))
        if due < math.inf:
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        if self._loop.time() >= self._due():
            if self._waiter is None:
                self._give_up_writing()
                return
            self._since = self._loop.time()
            self._is_silent = True
            self._wake()
        self._arm()

    def _end(self) -> None:
        super()._end()
        if self._watched.connection is not None:
            self._watched.connection.stream = None

    def _give_up_writing(self) -> None:
        """Cancel the response: nothing was read for too long, and only that gets Falcon out of ``send``."""
        self._timer = None
        self._call.cancel("the client does not read")
        if self._task is not None:
            self._task.cancel()
