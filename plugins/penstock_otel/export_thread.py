"""A thread that exports at intervals, so that a collector that is slow, or hangs, delays nothing else.

All that it needs is imported in the thread itself: loading OpenTelemetry takes a tenth of a second, for which no
request should wait. It is a daemon: a collector that hangs does not keep the process from ending.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from penstock.hooks import log_event

LAST_SECONDS: Final = 0.5
"""The response of the last job is recorded after the end of the drain."""


class ExportThread:
    """A thread that calls a function at intervals, and when it is woken.

    Parameters
    ----------
    name:
        The thread's name: what it exports.
    prepare:
        Called once, in the thread; returns the function to call.
    interval:
        Seconds from the end of one call to the next.
    """

    def __init__(self, name: str, prepare: Callable[[], Callable[[], object]], *, interval: float) -> None:
        self._name = name
        self._prepare = prepare
        self._interval = interval
        self._wake = threading.Event()
        self._waiting: list[threading.Event] = []
        self._process: int | None = None
        self._is_finishing = False
        self._is_over = False

    def start(self) -> None:
        """Start the thread, unless that has been done in this process."""
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        threading.Thread(target=self._run, name=f"penstock-otel-{self._name}", daemon=True).start()

    def wake(self) -> None:
        """Have the function called soon."""
        self._wake.set()

    def finish(self) -> None:
        """End the thread soon, but export what comes within the next moment: there will be no more."""
        self._is_finishing = True
        self._wake.set()

    def flush(self) -> threading.Event:
        """Have everything exported that there is now; return an event that is set once that has been tried."""
        done = threading.Event()
        self._waiting.append(done)
        self._wake.set()
        if self._is_over or self._process != os.getpid():  # a fork has no such thread
            done.set()
        return done

    # ---- in the thread

    def _run(self) -> None:
        try:
            export = self._prepare()
        except Exception as error:
            message = f"{self._name} cannot be exported: {type(error).__name__}: {error}"
            log_event(logging.ERROR, "otel-failed", message)
            self._end()
            return
        while not self._is_finishing:
            self._wake.wait(self._interval)
            self._export(export)
        self._wake.wait(LAST_SECONDS)
        self._export(export)
        self._end()

    def _export(self, export: Callable[[], object]) -> None:
        self._wake.clear()
        waiting = self._waiting[:]
        try:
            export()
        except Exception as error:  # the next call may succeed
            log_event(logging.ERROR, "otel-failed", f"{self._name} lost: {type(error).__name__}: {error}")
        self._end_waits(waiting)

    def _end(self) -> None:
        self._is_over = True  # before the waits end: a later one then need not wait
        self._end_waits(self._waiting[:])

    def _end_waits(self, waiting: list[threading.Event]) -> None:
        for done in waiting:
            self._waiting.remove(done)
            done.set()


def flush_all(threads: Iterable[ExportThread], seconds: float) -> bool:
    """Flush threads side by side; return whether all of them have done that in time."""
    deadline = time.monotonic() + seconds
    waits = [thread.flush() for thread in threads]
    return all(done.wait(max(0.0, deadline - time.monotonic())) for done in waits)


class CollectorHealth(logging.Filter):
    """The state of one exporter's collector, logged when it changes and not for each batch.

    It is a filter of the exporter's own logger, which says the same for every try.

    Parameters
    ----------
    what:
        The name of what is exported.
    logger:
        The name of the exporter's logger.
    """

    def __init__(self, what: str, logger: str) -> None:
        super().__init__()
        self._what = what
        self._is_down = False
        self._reason = ""
        self._lost = 0
        logging.getLogger(logger).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the message, as the reason of what follows, and show it nowhere."""
        if "timeout, max retries" not in record.getMessage() or not self._reason:
            self._reason = record.getMessage()
        return False

    def note(self, *, is_exported: bool, count: int) -> None:
        """Note the result of an export of ``count`` items."""
        if not is_exported:
            self._lost += count
            if not self._is_down:
                self._is_down = True
                message = f"{self._what} do not reach their collector, and are lost meanwhile: {self._reason}"
                log_event(logging.WARNING, "otel-collector-lost", message, reason=self._reason)
        elif self._is_down:
            self._is_down = False
            message = f"{self._what} reach their collector again"
            log_event(logging.INFO, "otel-collector-back", message, lost=self._lost)
            self._lost = 0
        self._reason = ""
