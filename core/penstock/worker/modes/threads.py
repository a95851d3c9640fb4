"""Attempts of plain functions with several slots: a thread each, and one mailbox back to the loop.

Threads cannot be interrupted. A cancelled attempt can see that in its ``Context``, and its slot is free only when the
user's code has returned.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from time import perf_counter

from penstock.body_files import BodyFile
from penstock.codec.chunk_stream import ChunkStream
from penstock.wire import WINDOW_BYTES, Chunk, Done, Head, Progress, Run
from penstock.worker.attempts import END_OF_STREAM, Invocation, JobResult, LiveEndpoint
from penstock.worker.forks import leave_if_forked
from penstock.worker.large_bodies import load
from penstock.worker.log_records import REQUEST_IDS
from penstock.worker.progress_reports import Outlet
from penstock.worker.trace_entry import enter_trace

Delivery = Done | Head | Chunk | Progress


class Mailbox:
    """A queue from threads to the loop, with one wake-up for many deliveries.

    Parameters
    ----------
    call_in_loop:
        Runs a function in the loop soon; may be called from any thread.
    receive:
        Takes a delivery, in the loop; must not raise.
    on_emptied:
        Called in the loop after a round of deliveries.
    """

    def __init__(
        self,
        call_in_loop: Callable[[Callable[[], None]], object],
        receive: Callable[[Delivery], None],
        on_emptied: Callable[[], None],
    ) -> None:
        self._call_in_loop = call_in_loop
        self._receive = receive
        self._on_emptied = on_emptied
        self._deliveries: deque[Delivery] = deque()
        self._is_waking = False

    def put(self, delivery: Delivery) -> None:
        """Pass a delivery to the loop. Callable from any thread.

        The order matters, here and in ``_empty``: append, then test and set the flag; clear the flag, then take the
        deliveries. Any other order can leave a delivery behind without waking the loop for it.
        """
        self._deliveries.append(delivery)
        if not self._is_waking:
            self._is_waking = True
            self._call_in_loop(self._empty)

    def _empty(self) -> None:
        self._is_waking = False
        while self._deliveries:
            self._receive(self._deliveries.popleft())
        self._on_emptied()


class ThreadAttempt:
    """One attempt in a thread. The loop calls ``cancel``, ``credit`` and ``wake``; the thread calls ``run``.

    Parameters
    ----------
    run, live:
        The attempt, and its endpoint.
    mailbox:
        Takes all that it sends.
    files:
        The bodies of the run that are in files, as ``Channel.take_files`` returns them.
    """

    def __init__(self, run: Run, live: LiveEndpoint, mailbox: Mailbox, files: Sequence[BodyFile | None] = ()) -> None:
        self.attempt = run.attempt
        self._files = files
        self._invocation = Invocation(run, live, self._is_cancelled, Outlet(mailbox.put))
        self._live = live
        self._mailbox = mailbox
        self._cancelled = False
        self._credit = WINDOW_BYTES
        self._changed = threading.Condition()  # guards _credit and _cancelled

    def _is_cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Set ``cancelled`` in its ``Context``, and stop it if it waits for room."""
        with self._changed:
            self._cancelled = True
            self._changed.notify()

    def credit(self, size_bytes: int) -> None:
        """Add room to the window of its stream."""
        with self._changed:
            self._credit += size_bytes
            self._changed.notify()

    def wake(self) -> None:
        """Do nothing: the attempt does not wait for the socket, and its window bounds the chunks that wait there."""

    def run(self) -> None:
        """Run the attempt, and put its chunks and its ``Done`` into the mailbox."""
        run = self._invocation.run
        REQUEST_IDS.set(run.request_ids)
        if run.trace is not None:
            enter_trace(run, run.trace)
        began = perf_counter()
        try:
            if self._files:
                load(self._invocation.run, self._files)
            answer = self._live.answer(self._invocation)
        except Exception as error:  # raised by ``load``: too little memory, or a disk that cannot be read
            answer = Done(self.attempt, 0.0, [self._live.failure_of(error)] * len(self._invocation.run.works))
        done = answer if isinstance(answer, Done) else self._stream(answer, began)
        self._invocation.end()
        self._mailbox.put(done)

    def _stream(self, stream: ChunkStream, began: float) -> Done:
        self._mailbox.put(Head(self.attempt, stream.head))
        try:
            result = self._produce(stream)
        except BaseException as error:
            result = self._live.failure_of(error)
        leave_if_forked((result,))
        if self._cancelled:
            return self._invocation.cancelled(seconds=perf_counter() - began)
        return Done(self.attempt, perf_counter() - began, [result])

    def _produce(self, stream: ChunkStream) -> JobResult:
        try:
            for value in stream.chunks:
                leave_if_forked()
                body = stream.encode(value)
                if not self._wait_for_room():
                    break
                self._use_credit(len(body))
                if body:
                    self._mailbox.put(Chunk(self.attempt, body))
        finally:
            close = getattr(stream.chunks, "close", None)  # an iterator that is not a generator may have none
            if close is not None:
                close()
        return END_OF_STREAM

    def _wait_for_room(self) -> bool:
        """Wait while the window is used up; return False if the stream has been cancelled."""
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or self._credit > 0)
            return not self._cancelled

    def _use_credit(self, size_bytes: int) -> None:
        with self._changed:
            self._credit -= size_bytes


class Threads:
    """Threads that run attempts. There are as many as attempts ever ran at once, which the engine's slots bound."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[ThreadAttempt] = SimpleQueue()
        self._count = 0

    def start(self, attempt: ThreadAttempt, *, running: int) -> None:
        """Run an attempt; ``running`` is the number of attempts that now run, this one included."""
        self._waiting.put(attempt)
        if running > self._count:
            self._count += 1
            threading.Thread(target=self._work, name=f"penstock-{self._count}", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._waiting.get().run()
