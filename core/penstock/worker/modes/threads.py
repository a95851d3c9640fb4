"""Attempts of plain functions that run several at once: threads of our own, and one way back to the loop.

Threads cannot be interrupted. A cancelled attempt learns it from its ``Context``, and its slot is free only when the
user's code has really returned.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from penstock.wire import Chunk, Done, Run
from penstock.worker.attempts import END_OF_STREAM, WINDOW_BYTES, Invocation, LiveEndpoint, Result
from penstock.worker.forks import leave_if_forked

Delivery = Done | Chunk


class Mailbox:
    """What threads hand to the loop, with one wake-up for many deliveries.

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
        """Hand something over. Any thread.

        The order matters, here and in ``_empty``: append, then test and set the flag; clear it, then drain. Any other
        order can leave a delivery behind with nobody to wake the loop for it.
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
    """One attempt in a thread. ``cancel``, ``credit`` and ``wake`` are the loop's, ``run`` is the thread's."""

    def __init__(self, run: Run, live: LiveEndpoint, mailbox: Mailbox) -> None:
        self.attempt = run.attempt
        self._call = Invocation(run, live, self._is_cancelled)
        self._live = live
        self._mailbox = mailbox
        self._cancelled = False
        self._credit = WINDOW_BYTES
        self._changed = threading.Condition()  # guards _credit and _cancelled

    def _is_cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Tell its ``Context``, and stop it if it waits for room."""
        with self._changed:
            self._cancelled = True
            self._changed.notify()

    def credit(self, size_bytes: int) -> None:
        """Give back room in the window of its stream."""
        with self._changed:
            self._credit += size_bytes
            self._changed.notify()

    def wake(self) -> None:
        """Do nothing: a full socket does not concern it, its window bounds what can wait there."""

    def run(self) -> None:
        """Run the attempt and hand over what it produces."""
        is_stream = self._live.endpoint.is_stream
        self._mailbox.put(self._stream() if is_stream else self._live.answer(self._call))

    def _stream(self) -> Done:
        began = perf_counter()
        try:
            result = self._produce(self._live.start(self._call))
        except BaseException as error:
            result = self._live.failure_of(error)
        leave_if_forked((result,))
        if self._cancelled:
            return self._call.cancelled(seconds=perf_counter() - began)
        return Done(self.attempt, perf_counter() - began, [result])

    def _produce(self, generator: Generator[Any, None, Any]) -> Result:
        try:
            for value in generator:
                leave_if_forked()
                body = self._live.encode_chunk(value)
                if not self._wait_for_room():
                    break
                self._credit_used(len(body))
                self._mailbox.put(Chunk(self.attempt, body))
        finally:
            generator.close()
        return END_OF_STREAM

    def _wait_for_room(self) -> bool:
        """Wait while the window is used up; return whether the stream is still wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or self._credit > 0)
            return not self._cancelled

    def _credit_used(self, size_bytes: int) -> None:
        with self._changed:
            self._credit -= size_bytes


class Threads:
    """As many threads as there ever were attempts at once; the engine's slots bound that."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[ThreadAttempt] = SimpleQueue()
        self._count = 0

    def start(self, attempt: ThreadAttempt, *, running: int) -> None:
        """Run an attempt, the ``running``-th of those that run now."""
        self._waiting.put(attempt)
        if running > self._count:
            self._count += 1
            threading.Thread(target=self._work, name=f"penstock-{self._count}", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._waiting.get().run()
