"""Group commit: one thread runs all writes of a store, and commits together whatever has queued up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

from penstock.job_store import StoreUnavailable

T = TypeVar("T")

MAX_TOGETHER: Final = 256
"""The most operations in one transaction: a queue of a second or so is worked off in steps that others can see."""


class PendingWrite(Generic[T]):
    """An operation that waits for its transaction."""

    __slots__ = ("future", "operation")

    def __init__(self, operation: Callable[[Any], T]) -> None:
        self.operation = operation
        self.future: Future[T] = Future()


class CommitThread:
    """The thread that writes.

    Parameters
    ----------
    commit:
        Runs operations together, and sets their futures. It must not raise.
    idle:
        Called between two transactions, and every ``idle_seconds`` while there are none.
    idle_seconds:
        See ``idle``.
    """

    def __init__(
        self,
        commit: Callable[[list[PendingWrite[Any]]], None],
        idle: Callable[[], None],
        idle_seconds: float,
    ) -> None:
        self._commit = commit
        self._idle = idle
        self._idle_seconds = idle_seconds
        self._queue: queue.SimpleQueue[PendingWrite[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="penstock-jobs-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, operation: Callable[[Any], T]) -> Future[T]:
        """Queue an operation. After ``close`` it fails."""
        pending = PendingWrite(operation)
        with self._lock:  # so that nothing is queued behind the end
            if self._is_closed:
                pending.future.set_exception(StoreUnavailable("the job store is closed"))
            else:
                self._queue.put(pending)
        return pending.future

    def close(self) -> None:
        """Finish what is queued, and end the thread."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            together, is_end = self._take()
            if together:
                self._commit(together)
            if is_end:
                return
            self._idle()

    def _take(self) -> tuple[list[PendingWrite[Any]], bool]:
        """Return what has queued up, and whether that was all; nothing if there was none for a while."""
        together: list[PendingWrite[Any]] = []
        try:
            item = self._queue.get(timeout=self._idle_seconds)
            while item is not None:
                if item.future.set_running_or_notify_cancel():
                    together.append(item)
                if len(together) == MAX_TOGETHER:
                    return together, False
                item = self._queue.get_nowait()
        except queue.Empty:
            return together, False
        return together, True
