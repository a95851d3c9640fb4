"""What the engine needs of the loop it lives on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

Callback = Callable[[], None]


class TimerHandle(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> object:
        """Call it off. Harmless after it has fired."""


class Reactor(Protocol):
    """A loop: asyncio's or trio's. Every callback runs in the loop's own thread, and none of them waits."""

    def time(self) -> float:
        """The instant now, of ``time.monotonic``, which engine and workers share."""

    def call_at(self, when: float, callback: Callback) -> TimerHandle:
        """Call back at the instant ``when``, or shortly after it."""

    def call_soon(self, callback: Callback, /) -> object:
        """Call back when what is ready now has been dealt with. In the loop's own thread only."""

    def call_soon_threadsafe(self, callback: Callback, /) -> object:
        """The same, from any thread."""

    def watch_readable(self, fd: int, callback: Callback | None) -> None:
        """Call back whenever ``fd`` can be read; None ends that. To be ended before ``fd`` is closed."""

    def watch_writable(self, fd: int, callback: Callback | None) -> None:
        """Call back whenever ``fd`` can be written; None ends that. To be ended before ``fd`` is closed."""

    def park(self, register: Callable[[Callback], None]) -> Awaitable[None]:
        """Pass a callback to ``register``, and return what can be awaited until it is called.

        The wait may be cancelled; calls that come too late are harmless.
        """
