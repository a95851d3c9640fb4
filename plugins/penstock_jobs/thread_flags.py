"""Waiting on the engine's loop, asyncio's or trio's, for what other threads do: futures, and flags."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class ThreadFlag:
    """A flag that any thread may set, and that one task of the loop waits for. Create it on the loop's thread."""

    def __init__(self) -> None:
        self._event, self._call_soon = _event_of_the_loop()

    def set(self) -> None:
        """Set the flag. Harmless when the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._call_soon(self._event.set)

    def clear(self) -> None:
        """Clear the flag. Do this before you look at what it stands for. On the loop's thread only."""
        self._event = type(self._event)()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until the flag is set, at most for ``seconds``; return whether it is."""
        event = self._event
        if seconds is not None and seconds <= 0:
            return bool(event.is_set())
        if isinstance(event, asyncio.Event):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await event.wait()
        else:
            trio = sys.modules["trio"]
            with trio.move_on_after(float("inf") if seconds is None else seconds):
                await event.wait()
        return bool(event.is_set())


async def settled(future: Future[T]) -> T:
    """Wait for a future of another thread, and return its result or raise its error.

    When the wait is cancelled, the future goes on: what it stands for may have been done.
    """
    if not future.done():
        flag = ThreadFlag()
        future.add_done_callback(lambda _: flag.set())
        await flag.wait()
    return future.result()


def _event_of_the_loop() -> tuple[Any, Callable[[Callable[[], object]], object]]:
    """Return an unset event of the running loop, and what calls a function on that loop from any thread."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return trio.Event(), trio.lowlevel.current_trio_token().run_sync_soon
    return asyncio.Event(), asyncio.get_running_loop().call_soon_threadsafe
