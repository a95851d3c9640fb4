"""The reactor for an engine inside a trio program: every watch and timer is a system task.

A nursery would not do. It would wrap every exception of the embedding program in a group, and its cancellation would
stop the reactor before the engine could finish its jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Any

import trio

from penstock.engine.reactors.reactor import Callback


class TrioReactor:
    """A reactor on the running trio loop. Use it in that loop's thread only, except for ``call_soon_threadsafe``."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._watches: dict[tuple[int, str], trio.CancelScope] = {}
        self.time = monotonic
        self.call_soon: Callable[[Callback], object] = self._token.run_sync_soon
        self.call_soon_threadsafe: Callable[[Callback], object] = self._token.run_sync_soon

    def call_at(self, when: float, callback: Callback) -> trio.CancelScope:
        """See ``Reactor``."""
        scope = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._sleep_then_call, scope, when, callback)
        return scope

    async def _sleep_then_call(self, scope: trio.CancelScope, when: float, callback: Callback) -> None:
        with scope:
            await trio.sleep(max(0.0, when - monotonic()))
            if not scope.cancel_called:
                _call(callback)

    def watch_readable(self, fd: int, callback: Callback | None) -> None:
        """See ``Reactor``."""
        self._watch(fd, "read", trio.lowlevel.wait_readable, callback)

    def watch_writable(self, fd: int, callback: Callback | None) -> None:
        """See ``Reactor``."""
        self._watch(fd, "write", trio.lowlevel.wait_writable, callback)

    def _watch(self, fd: int, way: str, wait: Callable[[int], Awaitable[None]], callback: Callback | None) -> None:
        scope = self._watches.pop((fd, way), None)
        if scope is not None:
            scope.cancel()
        if callback is not None:
            scope = self._watches[fd, way] = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._call_when_ready, scope, partial(wait, fd), callback)

    async def _call_when_ready(
        self, scope: trio.CancelScope, wait: Callable[[], Awaitable[None]], callback: Callback
    ) -> None:
        with scope:
            # The watch may be ended, and the descriptor closed, by the callback itself, or after the descriptor became
            # ready and before this task runs. From then on it must be neither waited for nor read.
            while not scope.cancel_called:
                await wait()
                if not scope.cancel_called:
                    _call(callback)

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> trio.CancelScope:
        """See ``Reactor``."""
        scope = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._run, scope, coroutine)
        return scope

    async def _run(self, scope: trio.CancelScope, coroutine: Coroutine[Any, Any, None]) -> None:
        with scope:
            try:
                await coroutine
            except Exception:
                logging.getLogger("penstock").exception("a task of the engine raised")

    def park(self, register: Callable[[Callback], None]) -> Awaitable[None]:
        """See ``Reactor``."""
        event = trio.Event()
        register(event.set)
        return event.wait()


def _call(callback: Callback) -> None:
    """Call back, and log an exception: it is a bug of the engine, and must not end the program that embeds it."""
    try:
        callback()
    except Exception:
        logging.getLogger("penstock").exception("a callback of the engine raised")
