"""The engine inside a trio program: every watch and timer is a system task.

Not tasks of a nursery: that would wrap every exception of the embedding program in a group on its way out, and its
cancellation would stop the reactor before the engine could finish what it has.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic

import trio

from penstock.engine.reactors.reactor import Callback


class TrioReactor:
    """Made inside a running trio program, and used only in its thread (``call_soon_threadsafe`` excepted)."""

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
            # The watch may be ended, and the descriptor closed, by the callback itself, or between the descriptor's
            # getting ready and this task's turn: it must be neither waited for nor read any more then.
            while not scope.cancel_called:
                await wait()
                if not scope.cancel_called:
                    _call(callback)

    def park(self, register: Callable[[Callback], None]) -> Awaitable[None]:
        """See ``Reactor``."""
        event = trio.Event()
        register(event.set)
        return event.wait()


def _call(callback: Callback) -> None:
    """An exception here is a bug of the engine's; it must not end the program that the engine is a guest of."""
    try:
        callback()
    except Exception:
        logging.getLogger("penstock").exception("a callback of the engine raised")
