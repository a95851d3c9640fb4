"""Progress reports on their way from a handler to the engine: ten per second of each attempt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

from penstock.wire import PROGRESS_BURST, PROGRESS_PER_SECOND, Progress

_SECONDS_PER_REPORT: Final = 1.0 / PROGRESS_PER_SECOND


class Outlet(NamedTuple):
    """The way by which the attempts of one mode send their reports."""

    post: Callable[[Progress], None]
    """Sends a report."""
    thread: int | None = None
    """The only thread that may call it; None if any thread may."""


class ProgressReports:
    """The reports of one attempt. Those that come too fast are held back, and the last of them is sent later.

    A handler that reports a step and then works for long is rarely held back, since ten reports may come at once.

    Parameters
    ----------
    attempt:
        The attempt.
    outlet:
        The way out. Reports from a thread that may not use it are held back.
    time:
        The clock.
    """

    __slots__ = ("_attempt", "_held", "_is_over", "_outlet", "_room_at", "_time")

    def __init__(self, attempt: int, outlet: Outlet, *, time: Callable[[], float] = monotonic) -> None:
        self._attempt = attempt
        self._outlet = outlet
        self._time = time
        self._room_at = 0.0  # from when on there is room for a whole burst
        self._held: Progress | None = None
        self._is_over = False

    def report(self, done: float, total: float | None, message: str | None) -> None:
        """Send a report, or hold it back. Callable from any thread."""
        if self._is_over:
            return
        progress = Progress(self._attempt, done, total, message)
        now = self._time()
        room_at = max(now, self._room_at)
        is_early = room_at - now > (PROGRESS_BURST - 1) * _SECONDS_PER_REPORT
        thread = self._outlet.thread
        if is_early or (thread is not None and thread != threading.get_ident()):
            self._held = progress
            return
        self._held = None
        self._room_at = room_at + _SECONDS_PER_REPORT
        self._outlet.post(progress)

    def end(self) -> None:
        """Send the report that is held back, if there is one, and no more after it."""
        self._is_over = True
        held, self._held = self._held, None
        if held is not None:
            self._outlet.post(held)
