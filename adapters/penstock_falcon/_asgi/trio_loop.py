"""trio's event loop in the form of asyncio's, as far as the ASGI side needs it. hypercorn can serve on trio.

Timers and listeners are system tasks, as in the engine's reactor for trio: they belong to no nursery of the server.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

import trio

from penstock_falcon._asgi.asgi_scope import Receive, Send
from penstock_falcon._asgi.server_task import TrioStreamCutShort, task_on_trio

T = TypeVar("T")
checkpoint = trio.lowlevel.checkpoint

Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class _Waiter:
    """A wait that begins at once and ends with ``set_result``."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def done(self) -> bool:
        return self._event.is_set()

    def set_result(self, _result: None) -> None:
        self._event.set()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._event.wait().__await__()


class TrioLoop:
    """See ``ServerLoop``. It keeps nothing, so that there may be any number."""

    def __init__(self) -> None:
        trio.lowlevel.current_trio_token()  # raises RuntimeError elsewhere

    def time(self) -> float:
        """See ``ServerLoop``."""
        return trio.current_time()

    def call_at(self, when: float, callback: Callable[[], None]) -> trio.CancelScope:
        """See ``ServerLoop``."""

        async def call_then() -> None:
            await trio.sleep_until(when)
            if not scope.cancel_called:
                callback()

        scope = _start(call_then)
        return scope

    def call_later(self, delay: float, callback: Callable[[], None]) -> trio.CancelScope:
        """See ``ServerLoop``."""
        return self.call_at(trio.current_time() + delay, callback)

    def create_future(self) -> _Waiter:
        """See ``ServerLoop``."""
        return _Waiter()

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> trio.CancelScope:
        """See ``ServerLoop``."""

        async def run() -> None:
            await coroutine

        return _start(run)

    async def run_in_executor(self, _executor: None, function: Callable[..., T], *arguments: Any) -> T:
        """See ``ServerLoop``."""
        return await trio.to_thread.run_sync(function, *arguments)


def _start(work: Callable[[], Awaitable[None]]) -> trio.CancelScope:
    scope = trio.CancelScope()

    async def run() -> None:
        with scope:
            try:
                await work()
            except Exception:  # it would end the whole server
                logging.getLogger("penstock").exception("a task of an ASGI application raised")

    trio.lowlevel.spawn_system_task(run)
    return scope


class _RequestTask:
    """The task of one request, in a cancel scope of its own: trio cancels scopes, and not tasks."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self._callbacks: list[Callable[[Any], None]] = []

    def cancel(self) -> None:
        self.scope.cancel()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def remove_done_callback(self, callback: Callable[[Any], None]) -> None:
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def end(self) -> None:
        for callback in tuple(self._callbacks):
            callback(self)


async def serve_on_trio(application: Application, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one request so that its body can be cancelled, and cut short.

    A server closes the connection of a request whose application returns within the response. That is all it takes.
    """
    task = _RequestTask()
    before = task_on_trio.set(task)
    try:
        with task.scope:
            await application(scope, receive, send)
    except TrioStreamCutShort:
        pass
    finally:
        task_on_trio.reset(before)
        task.end()


async def read_within(seconds: float, read: Coroutine[Any, Any, T]) -> T | None:
    """Return what ``read`` returns, or None if that takes longer."""
    with trio.move_on_after(max(0.0, seconds)):
        return await read
    return None
