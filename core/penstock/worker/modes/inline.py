"""Attempts that are called right on the main thread: no task, no hop, and an interrupt can reach them."""

from __future__ import annotations

import sys
from collections.abc import Generator
from time import perf_counter
from typing import Any

from penstock.wire import Chunk, Done, Run
from penstock.worker.attempts import END_OF_STREAM, WINDOW_BYTES, Invocation, LiveEndpoint, Result
from penstock.worker.channel import Outbox
from penstock.worker.failure_reports import user_traceback
from penstock.worker.forks import leave_if_forked
from penstock.worker.interrupts import Interrupted, InterruptGuard


def answer(run: Run, live: LiveEndpoint, guard: InterruptGuard) -> Done:
    """Run one attempt from its bodies to its results."""
    attempt = run.attempt
    call = Invocation(run, live, lambda: guard.is_target(attempt))
    began = perf_counter()
    try:
        return guard.run(attempt, live.answer, call)
    except Interrupted as interrupt:
        return call.cancelled(interrupt, seconds=perf_counter() - began)


class InlineStream:
    """A generator that is advanced on the main thread for as long as its chunks find room.

    It holds the loop while it produces, as any inline attempt does. When its window is used up or the socket is full it
    returns to the loop; credit, a drained socket or a cancel bring it back.
    """

    def __init__(self, run: Run, live: LiveEndpoint, guard: InterruptGuard, outbox: Outbox) -> None:
        self.attempt = run.attempt
        self._call = Invocation(run, live, self._is_cancelled)
        self._live = live
        self._guard = guard
        self._outbox = outbox
        self._generator: Generator[Any, None, Any] | None = None
        self._credit = WINDOW_BYTES
        self._cancelled = False
        self._seconds = 0.0

    def _is_cancelled(self) -> bool:
        return self._cancelled or self._guard.is_target(self.attempt)

    def cancel(self) -> None:
        """Stop it before its next chunk; takes effect with the next ``advance``."""
        self._cancelled = True

    def credit(self, size_bytes: int) -> None:
        """Give back room in the window; takes effect with the next ``advance``."""
        self._credit += size_bytes

    @property
    def has_credit(self) -> bool:
        """Whether there is room in its window, so that it waits for the socket at most."""
        return self._credit > 0

    def advance(self) -> Done | None:
        """Produce and send until the stream has ended (then its ``Done``) or there is no room (then None)."""
        while not self._is_cancelled():
            if self._credit <= 0 or not self._outbox.flush():
                return None
            began = perf_counter()
            try:
                product = self._guard.run(self.attempt, self._produce, None)
            except Interrupted as interrupt:
                self._close()
                return self._call.cancelled(interrupt, seconds=self._seconds + perf_counter() - began)
            self._seconds += perf_counter() - began
            if not isinstance(product, bytes):
                self._close()
                return Done(self.attempt, self._seconds, [product])
            self._credit -= len(product)
            self._outbox.post(Chunk(self.attempt, product))
        self._close()
        return self._call.cancelled(seconds=self._seconds)

    def _produce(self, _: None) -> bytes | Result:
        """Return the next chunk, or the result that the stream ends with. Runs under the guard."""
        try:
            if self._generator is None:
                self._generator = self._live.start(self._call)
            chunk: bytes | Result = self._live.encode_chunk(next(self._generator))
        except StopIteration:
            chunk = END_OF_STREAM
        except Interrupted:
            raise
        except BaseException as error:
            chunk = self._live.failure_of(error)
        leave_if_forked((chunk,))
        return chunk

    def _close(self) -> None:
        """Let the generator's ``finally`` blocks run, whole: the guard is off, and only a kill cuts them short."""
        if self._generator is None:
            return
        try:
            self._generator.close()
        except BaseException as error:
            # A stream has one end, and this one has ended already: the log is all that is left to tell.
            sys.stderr.write(user_traceback(error))
        leave_if_forked()
