"""The server's event loop: asyncio's own, or trio's in the same form."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from penstock_falcon._asgi.server_task import ServerTask, task_on_trio

T = TypeVar("T")


class LoopHandle(Protocol):
    """A timer or a task that can be cancelled."""

    def cancel(self) -> object:
        """Cancel it. Harmless when it is over."""


class LoopWaiter(Awaitable[None], Protocol):
    """A wait for one call of ``set_result``: a future."""

    def done(self) -> bool:
        """Return whether it is over."""

    def set_result(self, result: None, /) -> None:
        """End the wait."""


class ServerLoop(Protocol):
    """The part of asyncio's event loop that is needed here. Every method is for the loop's own thread."""

    def time(self) -> float:
        """Return the present instant of the loop's clock."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> LoopHandle:
        """Call ``callback`` at an instant of the loop's clock."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> LoopHandle:
        """Call ``callback`` in ``delay`` seconds."""

    def create_future(self) -> LoopWaiter:
        """Return a new wait."""

    def create_task(self, coroutine: Coroutine[Any, Any, None], /) -> LoopHandle:
        """Run a coroutine beside everything else. Its exceptions are logged."""

    def run_in_executor(self, executor: None, function: Callable[..., T], /, *arguments: Any) -> Awaitable[T]:
        """Call a function that blocks in a thread of its own."""


def running_loop() -> ServerLoop:
    """Return the loop that is running: asyncio's, or trio's.

    Raises
    ------
    RuntimeError
        If neither is running.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        # Only a program that runs trio pays for its import.
        from penstock_falcon._asgi.trio_loop import TrioLoop  # noqa: PLC0415 - see above

        return TrioLoop()


def is_on_asyncio() -> bool:
    """Return whether the running loop is asyncio's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def next_turn() -> None:
    """Let everything else that is ready have its turn."""
    if is_on_asyncio():
        await asyncio.sleep(0)
    else:
        from penstock_falcon._asgi.trio_loop import checkpoint  # noqa: PLC0415 - see running_loop

        await checkpoint()


def current_task() -> ServerTask | None:
    """Return the task that serves the present request, if it can be cancelled from here."""
    return asyncio.current_task() if is_on_asyncio() else task_on_trio.get()
