"""What a worker does with what it is told: frames in, attempts started and stopped, frames out. Knows no loop.

Inline attempts are called from here, right where their frame was read. The others are handed to a task or a thread, and
come back to ``finish``.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from penstock.wire import (
    FAILED_RECALLED,
    Cancel,
    Chunk,
    Credit,
    Done,
    Failure,
    FrameReader,
    Message,
    Run,
    Stop,
    WireError,
)
from penstock.worker.attempts import Invocation, LiveEndpoint
from penstock.worker.channel import Outbox, leave
from penstock.worker.interrupts import InterruptGuard
from penstock.worker.modes import inline
from penstock.worker.modes.inline import InlineStream
from penstock.worker.modes.tasks import Event, TaskAttempt
from penstock.worker.modes.threads import Delivery, Mailbox, ThreadAttempt, Threads


class Runtime(Protocol):
    """The loop, as far as the program needs one."""

    name: Literal["trio", "asyncio"]

    def new_event(self) -> Event:
        """Make an event that tasks of this loop can wait for."""

    def start_task(self, attempt: TaskAttempt, finish: Callable[[Done], None]) -> None:
        """Run an attempt in a scope and a task of its own, and hand its end to ``finish``."""

    def flush_soon(self) -> None:
        """Write the outbox in the next round of the loop, and as long as it takes; then tell the program."""

    def call_soon_threadsafe(self, function: Callable[[], None]) -> object:
        """Run a function in the loop. The only thing here that other threads may call."""

    def stop(self) -> None:
        """Return from serving."""


class Stoppable(Protocol):
    """An attempt that the program remembers while it runs."""

    def cancel(self) -> None:
        """Stop it."""

    def credit(self, size_bytes: int) -> None:
        """Give back room in its window."""

    def wake(self) -> None:
        """Say that the outbox has room again."""


class Program:
    """The worker's side of the conversation with the engine.

    Parameters
    ----------
    runtime:
        The loop.
    outbox:
        Where frames go.
    guard:
        What makes inline attempts interruptible.
    endpoints:
        The endpoints that live here, by their index in the app.
    """

    def __init__(
        self, runtime: Runtime, outbox: Outbox, guard: InterruptGuard, endpoints: Mapping[int, LiveEndpoint]
    ) -> None:
        self._runtime = runtime
        self._outbox = outbox
        self._guard = guard
        self._endpoints = endpoints
        self._frames = FrameReader()
        self._running: dict[int, Stoppable] = {}  # tasks and threads; inline attempts are not seen running
        self._stream: InlineStream | None = None  # holds the main thread, between its chunks too
        self._ahead: deque[Run] = deque()  # inline attempts that arrived while a stream held it
        self._threads = Threads()
        self._mailbox = Mailbox(runtime.call_soon_threadsafe, self._deliver, self._after_deliveries)
        self._is_stopping = False

    # ---- what the loop calls

    def receive(self, data: bytes) -> None:
        """Act on what has arrived; no bytes mean that the engine is gone."""
        if not data:
            leave()
        try:
            messages = self._frames.feed(data)
        except WireError as error:
            sys.stderr.write(f"penstock worker: {error}\n")
            leave()
        for message in messages:
            self._obey(message)
        self._write()
        self._stop_if_done()

    def on_drained(self) -> None:
        """Go on with the streams that waited for the socket."""
        for attempt in list(self._running.values()):
            attempt.wake()
        self._advance()
        self._write()
        self._stop_if_done()

    def finish(self, done: Done) -> None:
        """Take the end of a task."""
        del self._running[done.attempt]
        self._outbox.post_done(done)
        if self._running:
            self._runtime.flush_soon()  # others may end in this round: one write for all
        else:
            self._flush()
        self._stop_if_done()

    # ---- what the engine says

    def _obey(self, message: Message) -> None:
        if type(message) is Run:
            self._run(message)
        elif type(message) is Cancel:
            self._cancel(message.attempt)
        elif type(message) is Credit:
            self._credit(message)
        elif type(message) is Stop:
            self._is_stopping = True

    def _run(self, run: Run) -> None:
        live = self._endpoints[run.endpoint]
        mode = live.mode
        if mode == "inline":
            if self._stream is None:
                self._run_inline(run, live)
                self._advance()
            else:
                self._ahead.append(run)
        elif mode == "task":
            self._run_task(run, live)
        else:
            self._run_thread(run, live)

    def _run_inline(self, run: Run, live: LiveEndpoint) -> None:
        if not self._guard.may_begin(run.attempt):
            self._outbox.post_done(Done(run.attempt, 0.0, [Failure(FAILED_RECALLED)] * len(run.works)))
            return
        if live.endpoint.is_stream:
            self._stream = InlineStream(run, live, self._guard, self._outbox)
            return
        self._outbox.post_done(inline.answer(run, live, self._guard))
        # At once, although more may have been read with it: nobody knows how long the next one takes, and an answer
        # that is held back behind user code looks like an attempt that overruns its deadline.
        self._flush()

    def _run_task(self, run: Run, live: LiveEndpoint) -> None:
        runtime = self._runtime
        attempt = TaskAttempt(run, live, runtime=runtime.name, new_event=runtime.new_event, send=self._send)
        self._running[run.attempt] = attempt
        runtime.start_task(attempt, self.finish)

    def _run_thread(self, run: Run, live: LiveEndpoint) -> None:
        attempt = ThreadAttempt(run, live, self._mailbox)
        self._running[run.attempt] = attempt
        self._threads.start(attempt, running=len(self._running))

    def _cancel(self, attempt: int) -> None:
        """Stop an attempt. One that is unknown has ended already, and its ``Done`` is on its way."""
        running = self._running.get(attempt)
        if running is not None:
            running.cancel()
        elif self._stream is not None and self._stream.attempt == attempt:
            self._stream.cancel()
            self._advance()
        else:
            self._forget(attempt)

    def _forget(self, attempt: int) -> None:
        for run in self._ahead:
            if run.attempt == attempt:
                self._ahead.remove(run)
                self._outbox.post_done(Invocation(run, self._endpoints[run.endpoint], lambda: True).cancelled())
                return

    def _credit(self, credit: Credit) -> None:
        running = self._running.get(credit.attempt)
        if running is not None:
            running.credit(credit.size_bytes)
        elif self._stream is not None and self._stream.attempt == credit.attempt:
            self._stream.credit(credit.size_bytes)
            self._advance()

    # ---- what runs

    def _advance(self) -> None:
        """Take the inline stream further, and after its end what arrived meanwhile."""
        while self._stream is not None:
            done = self._stream.advance()
            if done is None:
                return
            self._outbox.post_done(done)
            self._stream = None
            while self._ahead and self._stream is None:
                run = self._ahead.popleft()
                self._run_inline(run, self._endpoints[run.endpoint])

    def _send(self, chunk: Chunk | None) -> bool:
        """Post a chunk, if there is one, and write; return whether all has left."""
        if chunk is not None:
            self._outbox.post(chunk)
        return self._flush()

    def _deliver(self, delivery: Delivery) -> None:
        if isinstance(delivery, Chunk):
            self._outbox.post(delivery)
        else:
            del self._running[delivery.attempt]
            self._outbox.post_done(delivery)

    def _after_deliveries(self) -> None:
        self._flush()
        self._stop_if_done()

    def _write(self) -> None:
        """Write all that is ready, and what the inline stream makes of the room."""
        # The stream may have stopped because the socket was full, and the socket be empty again by now: then nothing
        # else would tell it to go on.
        while self._flush() and self._stream is not None and self._stream.has_credit:
            self._advance()

    def _flush(self) -> bool:
        """Write; return whether all has left. If not, the loop does the rest, and calls ``on_drained``."""
        is_empty = self._outbox.flush()
        if not is_empty:
            self._runtime.flush_soon()
        return is_empty

    def _stop_if_done(self) -> None:
        if self._is_stopping and not self._running and self._stream is None:
            self._runtime.stop()
