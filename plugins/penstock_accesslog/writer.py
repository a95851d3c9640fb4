"""A writer thread, so that a slow disk or a full pipe never delays a request.

Records wait in a bounded buffer. When it is full, further ones are dropped and counted, and the server's log reports
the number. The thread also does the formatting, many lines in a row: formatting each line in the middle of handling
its request would cost twice as much.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from threading import Event, Thread
from typing import Final, Generic, TypeVar

from penstock.hooks import log_event
from penstock_accesslog.log_file import LogFile

GATHER_SECONDS: Final = 0.05
"""Lines that arrive together are written together: waking the thread for each would cost more than the lines."""
LOSS_SECONDS: Final = 10.0
"""Lost lines are reported at most this often."""
EXIT_SECONDS: Final = 2.0
MOST_AT_ONCE: Final = 1000


Item = TypeVar("Item")


class Writer(Generic[Item]):
    """A buffer that takes items from one thread and writes a line for each in another.

    Parameters
    ----------
    output:
        The destination of the lines.
    show:
        Turns an item into a line.
    most_lines:
        The number of items that may wait.
    clock:
        The monotonic clock, in seconds.
    gather:
        The time to wait for more lines after the first, in seconds.
    """

    def __init__(
        self,
        output: LogFile,
        show: Callable[[Item], bytes],
        most_lines: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        gather: float = GATHER_SECONDS,
    ) -> None:
        self._output = output
        self._show = show
        self._most_lines = most_lines
        self._clock = clock
        self._gather = gather
        self._start_over()
        self._is_known_to_atexit = False
        _after_fork(self)

    def _start_over(self) -> None:
        self._items: deque[Item | Event] = deque()
        self._is_awake = False
        self._wake = Event()
        self._hurry = Event()
        self._thread: Thread | None = None
        self._reason = ""
        self._reported_at = -LOSS_SECONDS
        # Counts of lines; each is written by one thread only.
        self._dropped = 0
        self._failed = 0
        self._reported = 0

    @property
    def lost(self) -> int:
        """The number of lost lines that have not been reported yet."""
        return self._dropped + self._failed - self._reported

    def put(self, item: Item) -> None:
        """Queue an item to be written soon, without waiting."""
        items = self._items
        if len(items) >= self._most_lines:
            self._dropped += 1
            return
        items.append(item)
        # Append first, then read the flag; the thread clears the flag first, then takes items. No line is left behind.
        if not self._is_awake:
            self._is_awake = True
            self._wake_up()

    def flush(self, timeout: float = EXIT_SECONDS) -> bool:
        """Wait until all lines queued so far are written.

        Parameters
        ----------
        timeout:
            Seconds after which to give up: a pipe's reader may never take the lines.

        Returns
        -------
        True if they were written in time.
        """
        if self._thread is None and not self._items:
            return True
        done = Event()
        self._items.append(done)
        self._is_awake = True
        self._hurry.set()
        self._wake_up()
        return done.wait(timeout)

    def _wake_up(self) -> None:
        if self._thread is None:
            self._start_thread()
        self._wake.set()

    def _start_thread(self) -> None:
        if not self._is_known_to_atexit:
            self._is_known_to_atexit = True
            _at_exit(self)
        # A daemon, because it never ends by itself, and at exit it may be blocked on a pipe without a reader.
        thread = Thread(target=self._run, name="penstock-accesslog", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or there are too many threads
            self._is_awake = False
            self._write_gathered()
        else:
            self._thread = thread

    # ---- in the thread

    def _run(self) -> None:
        while True:
            self._wake.wait(LOSS_SECONDS if self.lost else None)
            self._hurry.wait(self._gather)
            self._hurry.clear()
            self._wake.clear()
            self._is_awake = False
            self._write_gathered()

    def _write_gathered(self) -> None:
        items = self._items
        while items:
            batch: list[Item] = []
            waiting: list[Event] = []
            while items and len(batch) < MOST_AT_ONCE:
                item = items.popleft()
                if isinstance(item, Event):
                    waiting.append(item)
                    break  # a flush waits only for the items queued before it
                batch.append(item)
            self._write(batch)
            self._report_losses(at_once=bool(waiting))
            for done in waiting:
                done.set()
        self._report_losses(at_once=False)

    def _write(self, batch: list[Item]) -> None:
        lines = self._shown(batch)
        written, error = self._output.write(lines) if lines else (0, None)
        if error is not None:
            self._failed += len(lines) - written
            self._reason = error.strerror or str(error)

    def _shown(self, batch: list[Item]) -> list[bytes]:
        lines = []
        for item in batch:
            try:
                lines.append(self._show(item))
            except Exception as error:  # the thread must survive and write the other lines
                self._failed += 1
                self._reason = f"{type(error).__name__}: {error}"
        return lines

    def _report_losses(self, *, at_once: bool) -> None:
        now, lost = self._clock(), self.lost
        if not lost or (now - self._reported_at < LOSS_SECONDS and not at_once):
            return
        self._reported_at = now
        self._reported += lost
        reason, self._reason = self._reason or "they arrived faster than they could be written", ""
        message = f"{lost} {'line' if lost == 1 else 'lines'} of the access log lost: {reason}"
        log_event(logging.WARNING, "accesslog-lost", message, lines=lost, reason=reason)


def _after_fork(writer: Writer[Item]) -> None:
    """Reset the writer in forked children: they have no writer thread, and waiting lines belong to the parent."""
    reference = weakref.ref(writer)

    def start_over() -> None:
        forked = reference()
        if forked is not None:
            forked._start_over()

    os.register_at_fork(after_in_child=start_over)


def _at_exit(writer: Writer[Item]) -> None:
    """Flush the writer when the interpreter exits, if the writer still exists."""
    reference = weakref.ref(writer)

    def flush() -> None:
        living = reference()
        if living is not None:
            living.flush()

    atexit.register(flush)
