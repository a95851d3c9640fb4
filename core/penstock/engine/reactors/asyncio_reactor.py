"""The reactor for asyncio's loop, and for uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Any

from penstock.engine.reactors.reactor import Callback


class AsyncioReactor:
    """A reactor on an asyncio loop, by default the running one. Use it in that loop's thread only.

    ``call_soon_threadsafe`` is the exception.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop if loop is not None else asyncio.get_running_loop()
        self.call_soon: Callable[[Callback], object] = self._loop.call_soon
        self.call_soon_threadsafe: Callable[[Callback], object] = self._loop.call_soon_threadsafe
        # Not loop.time(): uvloop rounds it to milliseconds, and caches it for the turn of the loop.
        self.time = monotonic

    def call_at(self, when: float, callback: Callback) -> asyncio.TimerHandle:
        """See ``Reactor``."""
        return self._loop.call_later(max(0.0, when - monotonic()), callback)

    def watch_readable(self, fd: int, callback: Callback | None) -> None:
        """See ``Reactor``."""
        if callback is None:
            self._loop.remove_reader(fd)
        else:
            self._loop.add_reader(fd, callback)

    def watch_writable(self, fd: int, callback: Callback | None) -> None:
        """See ``Reactor``."""
        if callback is None:
            self._loop.remove_writer(fd)
        else:
            self._loop.add_writer(fd, callback)

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """See ``Reactor``."""
        return self._loop.create_task(coroutine)

    def park(self, register: Callable[[Callback], None]) -> asyncio.Future[None]:
        """See ``Reactor``. Returns a bare future: a coroutine around it would be one more object for every request."""
        future = self._loop.create_future()
        register(partial(_wake, future))
        return future


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():  # woken twice, or cancelled
        future.set_result(None)
