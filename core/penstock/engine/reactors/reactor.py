"""The interface of the event loop that an engine runs on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

Callback = Callable[[], None]


class TimerHandle(Protocol):
    """A timer, or a task, that can be cancelled."""

    def cancel(self) -> object:
        """Cancel it. Harmless when it is over."""


class Reactor(Protocol):
    """A loop: asyncio's or trio's. Every callback runs in the loop's own thread, and must not block."""

    def time(self) -> float:
        """Return the current instant of ``time.monotonic``, the clock that engine and workers share."""

    def call_at(self, when: float, callback: Callback) -> TimerHandle:
        """Call ``callback`` at the instant ``when``, or shortly after it."""

    def call_soon(self, callback: Callback, /) -> object:
        """Call ``callback`` after everything that is ready now has been handled. In the loop's own thread only."""

    def call_soon_threadsafe(self, callback: Callback, /) -> object:
        """Do the same as ``call_soon``, from any thread."""

    def watch_readable(self, fd: int, callback: Callback | None) -> None:
        """Call ``callback`` whenever ``fd`` is readable; None ends the watch. End it before closing ``fd``."""

    def watch_writable(self, fd: int, callback: Callback | None) -> None:
        """Call ``callback`` whenever ``fd`` is writable; None ends the watch. End it before closing ``fd``."""

    def create_task(self, coroutine: Coroutine[Any, Any, None], /) -> TimerHandle:
        """Run a coroutine beside everything else, until it ends or is cancelled."""

    def park(self, register: Callable[[Callback], None]) -> Awaitable[None]:
        """Pass a callback to ``register``, and return an awaitable that ends when it is called.

        The wait may be cancelled. A call that comes too late is harmless.
        """
