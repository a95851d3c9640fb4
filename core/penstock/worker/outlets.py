"""The ways by which progress reports leave a worker, for each mode of attempts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from penstock.wire import Progress
from penstock.worker.channel import Channel
from penstock.worker.interrupts import InterruptGuard
from penstock.worker.progress_reports import Outlet


class Loop(Protocol):
    """The part of the worker's loop that is needed here."""

    def flush_soon(self) -> None:
        """Flush the channel from the next turn of the loop on, until all is written."""

    def call_soon_threadsafe(self, function: Callable[[], None]) -> object:
        """Run a function in the loop. Callable from any thread."""


def inline_outlet(channel: Channel, guard: InterruptGuard) -> Outlet:
    """Return the outlet of user code on this thread. No interrupt strikes while a report is being written."""
    return Outlet(partial(guard.undisturbed, channel.report), threading.get_ident())


def task_outlet(channel: Channel, loop: Loop) -> Outlet:
    """Return the outlet of tasks on this thread, and of the threads that they have started."""
    thread = threading.get_ident()

    def post(progress: Progress) -> None:
        if threading.get_ident() != thread:
            loop.call_soon_threadsafe(partial(post, progress))
            return
        channel.report(progress)
        if not channel.is_flushed:
            loop.flush_soon()

    return Outlet(post)
