"""The worker's program: frames in, attempts started and stopped, frames out. It depends on no particular loop.

Inline attempts are called from here, as soon as their frame is read. The others run in a task, a thread or a generation
loop, and come back to ``finish`` or through the mailbox.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from penstock.body_files import BodyFile
from penstock.wire import (
    FAILED_RECALLED,
    Cancel,
    Check,
    Chunk,
    Credit,
    Done,
    Failure,
    FrameReader,
    Head,
    LargeRun,
    Message,
    Run,
    Stop,
    Unfit,
    WireError,
)
from penstock.worker.attempts import LiveEndpoint
from penstock.worker.channel import Channel, leave
from penstock.worker.failure_reports import cancelled
from penstock.worker.forks import leave_if_forked
from penstock.worker.interrupts import InterruptGuard
from penstock.worker.large_bodies import load
from penstock.worker.modes import inline
from penstock.worker.modes.inline import InlineStream
from penstock.worker.modes.stepped import GenerationLoop, StepRuntime
from penstock.worker.modes.tasks import TaskAttempt
from penstock.worker.modes.threads import Delivery, Mailbox, ThreadAttempt, Threads
from penstock.worker.outlets import inline_outlet, task_outlet


class WorkerRuntime(StepRuntime, Protocol):
    """The loop, as far as the program needs one."""

    def start_task(self, attempt: TaskAttempt, finish: Callable[[Done], None]) -> None:
        """Run an attempt in a scope and a task of its own, and pass its ``Done`` to ``finish``."""

    def stop(self) -> None:
        """Make the loop stop serving."""


class RunningAttempt(Protocol):
    """An attempt in a task, a thread or a slot, as the program controls it."""

    def cancel(self) -> None:
        """Stop it."""

    def credit(self, size_bytes: int) -> None:
        """Add room to the window of its stream."""

    def wake(self) -> None:
        """Notify it that the channel has been flushed."""


class Program:
    """The worker's side of the conversation with the engine.

    Parameters
    ----------
    runtime:
        The loop.
    channel:
        The connection to the engine, to write to.
    guard:
        Makes inline attempts interruptible.
    endpoints:
        The endpoints that live here, by their names.
    check:
        Returns why one of their models does not work any more, or None.
    """

    def __init__(
        self,
        runtime: WorkerRuntime,
        channel: Channel,
        guard: InterruptGuard,
        endpoints: Mapping[str, LiveEndpoint],
        check: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._check_models = check
        self._wants_check = False
        self._runtime = runtime
        self._channel = channel
        self._guard = guard
        self._endpoints = endpoints
        self._frames = FrameReader()
        self._running: dict[int, RunningAttempt] = {}  # not inline attempts: no message is read while one runs
        self._stream: InlineStream | None = None  # occupies the main thread, between its chunks too
        self._ahead: deque[Run] = deque()  # inline attempts that wait for a stream, or for a result to be written
        self._is_backed_up = False  # a result was left unwritten, so the next attempt has to look before it begins
        self._threads = Threads()
        self._mailbox = Mailbox(runtime.call_soon_threadsafe, self._deliver, self._after_deliveries)
        self._inline_outlet = inline_outlet(channel, guard)
        self._task_outlet = task_outlet(channel, runtime)
        self._is_stopping = False
        self._loops = {
            name: GenerationLoop(live, runtime, guard, channel=channel, program=self)
            for name, live in endpoints.items()
            if live.mode == "stepped"
        }
        self._is_inline = all(live.mode == "inline" for live in endpoints.values())

    @property
    def may_block(self) -> bool:
        """True if nothing can happen before the next message: only inline attempts run here, and none is under way."""
        return self._is_inline and self._stream is None and not self._ahead and self._channel.is_flushed

    # ---- called by the loop

    def receive(self, data: bytes) -> None:
        """Act on the bytes that have arrived; ``b""`` means that the engine is gone."""
        if not data:
            leave()
        try:
            messages = self._frames.feed(data)
        except WireError as error:
            sys.stderr.write(f"penstock: worker stopped, because the engine's data is invalid: {error}\n")
            leave()
        for message in messages:
            self._handle(message)
        # An inline attempt has written its own result; most often it is the only message, and nothing is left to do.
        if self._stream is not None or self._ahead or not self._channel.is_flushed:
            self._write()
        self._stop_if_done()

    def on_flushed(self) -> None:
        """Continue the streams that waited for the socket."""
        for attempt in list(self._running.values()):
            attempt.wake()
        self._advance()
        self._write()
        self._stop_if_done()

    def finish(self, done: Done) -> None:
        """Take the end of a task, or of an attempt in a slot."""
        del self._running[done.attempt]
        self._channel.post_done(done)
        if self._running:
            self._runtime.flush_soon()  # others may end in this turn: one write for all
        else:
            self.flush()
        self._stop_if_done()

    # ---- messages from the engine

    def _handle(self, message: Message) -> None:
        if type(message) is Run:
            self._run(message)
        elif type(message) is Cancel:
            self._cancel(message.attempt)
        elif type(message) is Credit:
            self._credit(message)
        elif type(message) is LargeRun:
            self._run(message.run, self._channel.take_files(message.sizes))
        elif type(message) is Stop:
            self._is_stopping = True
        elif type(message) is Check:
            self._wants_check = True
            self._check()

    def _check(self) -> None:
        """Call the models' checks; later, if a stream is under way, or a result has to be written first."""
        if self._stream is not None or self._ahead or not self.flush():
            return
        self._wants_check = False
        problem = self._check_models()
        leave_if_forked()
        if problem is not None:
            self._channel.post(Unfit(problem))

    def _run(self, run: Run, files: Sequence[BodyFile | None] = ()) -> None:
        live = self._endpoints[run.endpoint]
        mode = live.mode
        if mode == "inline":
            if files and not self._load(run, live, files):
                return
            if self._stream is None and not self._is_backed_up:
                self._run_inline(run, live)
            else:
                self._ahead.append(run)
            self._advance()
        elif mode == "task":
            self._run_task(run, live, files)
        elif mode == "stepped":
            self._running[run.attempt] = self._loops[run.endpoint].add(run, files)
        else:
            self._run_thread(run, live, files)

    def _load(self, run: Run, live: LiveEndpoint, files: Sequence[BodyFile | None]) -> bool:
        try:
            load(run, files)
        except Exception as error:  # too little memory, or a disk that cannot be read
            self._channel.post_done(Done(run.attempt, 0.0, [live.failure_of(error)] * len(run.works)))
            return False
        return True

    def _run_inline(self, run: Run, live: LiveEndpoint) -> None:
        if not self._guard.may_begin(run.attempt):
            self._channel.post_done(Done(run.attempt, 0.0, [Failure(FAILED_RECALLED)] * len(run.works)))
            return
        answer = inline.answer(run, live, self._guard, self._channel, self._inline_outlet)
        if isinstance(answer, InlineStream):
            self._stream = answer
            return
        self._channel.post_done(answer)
        # Write at once, although more messages may have been read with this one: the next attempt may take any time,
        # and to the engine a result that waits behind user code looks like an attempt that overruns its deadline. So
        # the next attempt waits until this result has been written, however large it is.
        if not self.flush():
            self._is_backed_up = True

    def _run_task(self, run: Run, live: LiveEndpoint, files: Sequence[BodyFile | None]) -> None:
        attempt = TaskAttempt(run, live, self._runtime, self._send, self._task_outlet, files=files)
        self._running[run.attempt] = attempt
        self._runtime.start_task(attempt, self.finish)

    def _run_thread(self, run: Run, live: LiveEndpoint, files: Sequence[BodyFile | None]) -> None:
        attempt = ThreadAttempt(run, live, self._mailbox, files)
        self._running[run.attempt] = attempt
        self._threads.start(attempt, running=len(self._running))

    def _cancel(self, attempt: int) -> None:
        """Stop an attempt. An unknown one has ended already, and its ``Done`` is on its way."""
        running = self._running.get(attempt)
        if running is not None:
            running.cancel()
        elif self._stream is not None and self._stream.attempt == attempt:
            self._stream.cancel()
            self._advance()
        else:
            self._cancel_ahead(attempt)

    def _cancel_ahead(self, attempt: int) -> None:
        for run in self._ahead:
            if run.attempt == attempt:
                self._ahead.remove(run)
                self._channel.post_done(Done(attempt, 0.0, [cancelled()] * len(run.works)))
                return

    def _credit(self, credit: Credit) -> None:
        running = self._running.get(credit.attempt)
        if running is not None:
            running.credit(credit.size_bytes)
        elif self._stream is not None and self._stream.attempt == credit.attempt:
            self._stream.credit(credit.size_bytes)
            self._advance()

    # ---- streams and writes

    def _advance(self) -> None:
        """Advance the inline stream; when it has ended, and everything is written, run the attempts that wait."""
        while True:
            if self._stream is not None:
                done = self._stream.advance()
                if done is None:
                    return
                self._channel.post_done(done)
                self._stream = None
            if not self._ahead:
                if self._wants_check:
                    self._check()
                return
            if not self.flush():  # the end of a stream must not wait behind user code either
                self._is_backed_up = True
                return
            self._is_backed_up = False
            run = self._ahead.popleft()
            self._run_inline(run, self._endpoints[run.endpoint])

    def _send(self, message: Head | Chunk | None) -> bool:
        """Post a piece of a stream, if there is one, and write; return True if everything posted has been written."""
        if message is not None:
            self._channel.post(message)
        return self.flush()

    def _deliver(self, delivery: Delivery) -> None:
        if isinstance(delivery, Done):
            del self._running[delivery.attempt]
            self._channel.post_done(delivery)
        else:
            self._channel.post(delivery)

    def _after_deliveries(self) -> None:
        self.flush()
        self._stop_if_done()

    def _write(self) -> None:
        """Write everything that is ready, and go on with inline attempts while the socket accepts what they produce."""
        # They may have stopped because the socket was full, while by now the socket is empty again. Nothing else would
        # resume them then.
        while self.flush() and (self._ahead if self._stream is None else self._stream.has_credit):
            self._advance()

    def flush(self) -> bool:
        """Write; return True if that was everything. Otherwise the loop writes the rest and calls ``on_flushed``."""
        is_flushed = self._channel.flush()
        if not is_flushed:
            self._runtime.flush_soon()
        return is_flushed

    def _stop_if_done(self) -> None:
        if self._is_stopping and not self._running and self._stream is None and not self._ahead:
            self._runtime.stop()
