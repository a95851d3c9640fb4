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
    return Outlet(_in_loop(loop, partial(_report, channel, loop)))


def slot_outlet(channel: Channel, guard: InterruptGuard, loop: Loop) -> Outlet:
    """Return the outlet of a generation loop on this thread, whose methods may be interrupted, and of its threads."""
    return Outlet(_in_loop(loop, partial(guard.undisturbed, partial(_report, channel, loop))))


def _report(channel: Channel, loop: Loop, progress: Progress) -> None:
    channel.report(progress)
    if not channel.is_flushed:
        loop.flush_soon()


def _in_loop(loop: Loop, report: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Return a function that calls ``report`` on this thread, from whichever thread it is called."""
    thread = threading.get_ident()

    def post(progress: Progress) -> None:
        if threading.get_ident() == thread:
            report(progress)
        else:
            loop.call_soon_threadsafe(partial(report, progress))

    return post
