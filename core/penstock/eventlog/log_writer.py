"""The thread that writes the log, so that a pipe that is not being read, or a slow disk, holds up nothing else.

Lines wait in a bounded buffer. Once it is full, further lines are dropped and counted, and a line reports the number
as soon as there is room.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

MOST_BYTES: Final = 4 << 20
"""The size of the lines that may wait for a slow reader."""
LINE_OVERHEAD: Final = 64
"""Each line costs memory beside its bytes, so that empty ones must not count as nothing."""
PIECE_BYTES: Final = select.PIPE_BUF
"""The largest write to a pipe that is atomic: it does not mix with what other processes write to the same pipe."""
FLUSH_SECONDS: Final = 1.0


def loss_message(count: int) -> str:
    """Return the sentence that reports a number of dropped lines."""
    return f"{count} log lines were dropped: the reader of stderr is too slow"


def _bare_loss(count: int) -> bytes:
    return f"{loss_message(count)}\n".encode()


Item: TypeAlias = bytes | threading.Event | None
"""A line; an event to set when all lines before it are written; None to end the thread."""


class LogWriter:
    """A buffer that takes lines without waiting, and a thread that writes them to a descriptor.

    The queue is one that a signal handler may use while the code it has interrupted is using it.

    Parameters
    ----------
    descriptor:
        The descriptor to write to. It is not closed here.
    most_bytes:
        The size of the lines that may wait.

    Attributes
    ----------
    loss_line:
        Makes the line that reports a number of dropped lines.
    """

    def __init__(self, descriptor: int, most_bytes: int = MOST_BYTES) -> None:
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        self.loss_line: Callable[[int], bytes] = _bare_loss
        self.start_over()

    def start_over(self) -> None:
        """Forget the waiting lines and the thread: in a fork, the lines are the parent's, and it has no such thread."""
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Each of these is changed by one side only: the thread's are _taken_bytes and _reported.
        self._put_bytes = self._taken_bytes = 0
        self._dropped = self._reported = 0
        self._stuck_at = -1  # the value of _taken_bytes when a flush gave up

    @property
    def _waiting_bytes(self) -> int:
        return self._put_bytes - self._taken_bytes

    @property
    def is_congested(self) -> bool:
        """True while more than half of the buffer is in use: hold back whatever can be held back."""
        return self._waiting_bytes > self._most_bytes // 2

    def put(self, line: bytes) -> None:
        """Add a line, with its newline, to be written soon. Callers in several threads share a lock of theirs."""
        size_bytes = len(line) + LINE_OVERHEAD
        if self._waiting_bytes + size_bytes > self._most_bytes:
            self._dropped += 1
            return
        self._put_bytes += size_bytes
        self._items.put(line)
        if self._thread is None:
            self._start_thread()

    def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Wait until all lines added so far are written; return False if that takes longer than ``timeout`` seconds."""
        if self._thread is None:
            return True
        if self._taken_bytes == self._stuck_at:
            return False  # an earlier flush has given up, and the reader has taken no line since
        done = threading.Event()
        self._items.put(done)
        is_flushed = done.wait(timeout)
        self._stuck_at = -1 if is_flushed else self._taken_bytes
        return is_flushed

    def end_thread(self, timeout: float = FLUSH_SECONDS) -> None:
        """End the thread once everything is written, and wait for that as ``flush`` does. The next line starts another.

        No line may be added meanwhile.
        """
        thread, items = self._thread, self._items
        if thread is None:
            return
        self._items, self._thread = SimpleQueue(), None
        items.put(None)
        thread.join(timeout)

    def _start_thread(self) -> None:
        # A daemon: it never ends by itself, and at exit it may be blocked by a pipe that is not being read.
        thread = threading.Thread(target=self._run, args=(self._items,), name="penstock-log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or there are too many threads
            self._write_waiting(self._items)
        else:
            self._thread = thread

    # ---- in the thread

    def _run(self, items: SimpleQueue[Item]) -> None:
        while (item := items.get()) is not None:
            if self._write_from(item, items) is None:
                return

    def _write_waiting(self, items: SimpleQueue[Item]) -> None:
        with contextlib.suppress(Empty):
            while True:
                self._write_from(items.get_nowait(), items)

    def _write_from(self, item: Item, items: SimpleQueue[Item]) -> Item:
        """Write a line, together with those that wait behind it; return the last item taken from the queue."""
        lines: list[bytes] = []
        size_bytes = 0
        while isinstance(item, bytes):
            if lines and size_bytes + len(item) > PIECE_BYTES:
                self._write_lines(lines)
                lines, size_bytes = [], 0
            lines.append(item)
            size_bytes += len(item)
            try:
                item = items.get_nowait()
            except Empty:
                break
        self._write_lines(lines)
        if isinstance(item, threading.Event):
            item.set()
        return item

    def _write_lines(self, lines: list[bytes]) -> None:
        if lines:
            self._write(b"".join(lines))
            self._taken_bytes += sum(map(len, lines)) + LINE_OVERHEAD * len(lines)
        lost = self._dropped - self._reported
        if lost and not self.is_congested:
            self._reported += lost
            self._write(self.loss_line(lost))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another process that shares our stderr has made it non-blocking for all
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                waiting.poll()
            except OSError:
                return  # it is closed, or the disk is full: the log has no other place to say so


_writers: dict[int, LogWriter] = {}


def writer_of(descriptor: int) -> LogWriter:
    """Return this process's writer for a descriptor: one only, so that all lines come out in order."""
    writer = _writers.get(descriptor)
    if writer is None:
        writer = _writers[descriptor] = LogWriter(descriptor)
    return writer


def is_congested() -> bool:
    """Return whether a reader of this process's log is so slow that whatever can be held back should be."""
    return any(writer.is_congested for writer in list(_writers.values()))


def flush_all(timeout: float = FLUSH_SECONDS) -> None:
    """Wait until the lines so far are written, for at most ``timeout`` seconds. For exits that skip Python's own."""
    for writer in list(_writers.values()):
        writer.flush(timeout)


def _start_over_in_fork() -> None:
    for writer in _writers.values():
        writer.start_over()


os.register_at_fork(after_in_child=_start_over_in_fork)
