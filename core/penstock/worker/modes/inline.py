"""Attempts called directly on the main thread: no task, no thread hop, and an interrupt can reach them."""

from __future__ import annotations

import sys
from time import perf_counter

from penstock.codec.chunk_stream import ChunkStream
from penstock.wire import WINDOW_BYTES, Chunk, Done, Head, Run
from penstock.worker.attempts import END_OF_STREAM, Invocation, JobResult, LiveEndpoint
from penstock.worker.channel import Channel
from penstock.worker.failure_reports import user_traceback
from penstock.worker.forks import leave_if_forked
from penstock.worker.interrupts import Interrupted, InterruptGuard
from penstock.worker.log_records import REQUEST_IDS
from penstock.worker.progress_reports import Outlet
from penstock.worker.trace_entry import enter_trace


def answer(
    run: Run, live: LiveEndpoint, guard: InterruptGuard, channel: Channel, outlet: Outlet
) -> Done | InlineStream:
    """Run one attempt, from the bodies to the results, or to the beginning of a stream."""
    attempt = run.attempt
    REQUEST_IDS.set(run.request_ids)
    if run.trace is not None:
        enter_trace(run, run.trace)
    invocation = Invocation(run, live, lambda: guard.is_target(attempt), outlet)
    began = perf_counter()
    try:
        result = guard.run(attempt, live.answer, invocation)
    except Interrupted as interrupt:
        invocation.end()
        return invocation.cancelled(interrupt, seconds=perf_counter() - began)
    if isinstance(result, Done):
        if live.needs_context:
            invocation.end()
        return result
    return InlineStream(invocation, live, result, guard, channel, seconds=perf_counter() - began)


class InlineStream:
    """A generator that is advanced on the main thread for as long as there is room for its chunks.

    It blocks the loop while it produces, as any inline attempt does. When its window is used up or the socket is full,
    it returns to the loop. Credit, a flushed channel or a cancel bring it back.

    Parameters
    ----------
    invocation, live:
        The call of the handler, and its endpoint.
    stream:
        The stream that the handler has returned.
    guard:
        Makes the generator interruptible.
    channel:
        The connection to the engine. The stream's head is posted at once.
    seconds:
        The time already spent in the user's code.
    """

    def __init__(
        self,
        invocation: Invocation,
        live: LiveEndpoint,
        stream: ChunkStream,
        guard: InterruptGuard,
        channel: Channel,
        *,
        seconds: float,
    ) -> None:
        self.attempt = invocation.run.attempt
        self._invocation = invocation
        self._live = live
        self._chunks = stream.chunks
        self._encode = stream.encode
        self._guard = guard
        self._channel = channel
        self._credit = WINDOW_BYTES
        self._cancelled = False
        self._seconds = seconds
        channel.post(Head(self.attempt, stream.head))

    def _is_cancelled(self) -> bool:
        return self._cancelled or self._guard.is_target(self.attempt)

    def cancel(self) -> None:
        """Stop before the next chunk; takes effect with the next ``advance``."""
        self._cancelled = True

    def credit(self, size_bytes: int) -> None:
        """Add room to the window; takes effect with the next ``advance``."""
        self._credit += size_bytes

    @property
    def has_credit(self) -> bool:
        """True if there is room in the window, so that only a full socket can hold the stream up."""
        return self._credit > 0

    def advance(self) -> Done | None:
        """Produce and send chunks until the stream ends (return its ``Done``) or there is no room (return None)."""
        while not self._is_cancelled():
            if self._credit <= 0 or not self._channel.flush():
                return None
            began = perf_counter()
            try:
                product = self._guard.run(self.attempt, self._produce, None)
            except Interrupted as interrupt:
                self._close()
                self._invocation.end()
                return self._invocation.cancelled(interrupt, seconds=self._seconds + perf_counter() - began)
            self._seconds += perf_counter() - began
            if not isinstance(product, bytes):
                self._close()
                self._invocation.end()
                return Done(self.attempt, self._seconds, [product])
            self._credit -= len(product)
            if product:
                self._channel.post(Chunk(self.attempt, product))
        self._close()
        self._invocation.end()
        return self._invocation.cancelled(seconds=self._seconds)

    def _produce(self, _: None) -> bytes | JobResult:
        """Return the next chunk, or the result that ends the stream. Runs under the guard."""
        try:
            chunk: bytes | JobResult = self._encode(next(self._chunks))
        except StopIteration:
            chunk = END_OF_STREAM
        except Interrupted:
            raise
        except BaseException as error:
            chunk = self._live.failure_of(error)
        leave_if_forked((chunk,))
        return chunk

    def _close(self) -> None:
        """Run the generator's ``finally`` blocks to their end: the guard is off, so only a kill cuts them short."""
        close = getattr(self._chunks, "close", None)  # an iterator that is not a generator may have none
        if close is None:
            return
        try:
            close()
        except BaseException as error:
            # The stream has ended already and cannot report a second end, so the exception goes to the log.
            sys.stderr.write(user_traceback(error))
        leave_if_forked()
