"""The worker's loop under asyncio, or uvloop if that is installed: the same program, driven by callbacks."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any, Literal, NoReturn

from penstock.wire import Done
from penstock.worker.channel import Channel
from penstock.worker.modes.tasks import LoopEvent, Scope, TaskAttempt
from penstock.worker.program import Program

_SHORTEST_TIMER = 0.001  # uvloop's resolution; a shorter timer would spin

NewLoop = Callable[[], asyncio.AbstractEventLoop]


def _loop_factory() -> NewLoop:
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415  an extra

    factory: NewLoop = uvloop.new_event_loop
    return factory


# Looked up when the zygote imports this module, so that uvloop is imported once.
_new_loop = _loop_factory()


class AsyncioScope:
    """A task's cancel scope, which records that it was cancelled: user code may raise ``CancelledError`` itself.

    Parameters
    ----------
    task:
        The task to cancel.
    loop:
        The loop that runs it, for the timer.
    deadline:
        The instant of ``time.monotonic`` at which the scope cancels itself; never earlier.
    """

    __slots__ = ("_deadline", "_loop", "_task", "_timer", "cancelled")

    def __init__(self, task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self._task = task
        self._loop = loop
        self._deadline = deadline
        self._timer: asyncio.TimerHandle | None = None
        self.cancelled = False
        if deadline != math.inf:
            self._keep_deadline()

    def _keep_deadline(self) -> None:
        # uvloop rounds to whole milliseconds and counts from the start of its turn, so a timer may fire early.
        left = self._deadline - time.monotonic()
        if left <= 0.0:
            self.cancel()
        else:
            self._timer = self._loop.call_later(max(left, _SHORTEST_TIMER), self._keep_deadline)

    def cancel(self) -> None:
        """Raise ``CancelledError`` in the task, once."""
        if not self.cancelled:
            self.cancelled = True
            self._task.cancel()

    def close(self) -> None:
        """Stop the timer: the task has ended."""
        if self._timer is not None:
            self._timer.cancel()


class AsyncioRuntime:
    """Callbacks on the socket, and a task for each asynchronous attempt.

    Parameters
    ----------
    channel:
        The connection to the engine.
    """

    name: Literal["asyncio"] = "asyncio"

    def __init__(self, channel: Channel) -> None:
        self._descriptor = channel.fileno()
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds only weak references to tasks
        self._is_flushing = False
        self._program: Program

    async def serve(self, program: Program) -> None:
        """Pass everything that arrives to the program, until ``stop``."""
        self._program = program
        self._loop.add_reader(self._descriptor, self._read)
        await self._stopped.wait()
        self._loop.remove_reader(self._descriptor)

    def _read(self) -> None:
        data = self._channel.receive()
        if data is None:
            return
        try:
            self._program.receive(data)
        except Exception:
            _leave_with_traceback()

    def new_event(self) -> LoopEvent:
        """Return a new ``asyncio.Event``."""
        return asyncio.Event()

    def start_task(self, attempt: TaskAttempt, finish: Callable[[Done], None]) -> None:
        """Run an attempt in a task."""
        self._keep(self._loop.create_task(self._run(attempt, finish)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, attempt: TaskAttempt, finish: Callable[[Done], None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        scope = AsyncioScope(task, self._loop, attempt.deadline)
        attempt.enter(scope)
        try:
            done = await attempt.run()
        finally:
            scope.close()
        finish(done)

    def start(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a function in a task."""
        self._keep(self._loop.create_task(_until_it_ends(function)))

    async def checkpoint(self) -> None:
        """Let all other tasks take a turn."""
        await asyncio.sleep(0)

    async def in_scope(self, awaitable: Awaitable[Any], enter: Callable[[Scope], None]) -> Any:
        """Await in a scope of the present task; return None if that was cancelled."""
        task = asyncio.current_task()
        assert task is not None
        scope = AsyncioScope(task, self._loop, math.inf)
        enter(scope)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if not scope.cancelled:
                raise
            return None
        finally:
            if scope.cancelled:
                task.uncancel()

    async def in_thread(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in a thread, to its end: a cancellation takes effect only then."""
        future = self._loop.run_in_executor(None, function, *arguments)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        future.result()

    def flush_soon(self) -> None:
        """Write in the next turn of the loop, and then whenever the socket is writable, until all is written."""
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if not self._channel.flush():
            self._loop.add_writer(self._descriptor, self._flush)
            return
        self._loop.remove_writer(self._descriptor)
        self._is_flushing = False
        self._program.on_flushed()

    def call_soon_threadsafe(self, function: Callable[[], None]) -> object:
        """Run a function in the loop."""
        return self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Make ``serve`` return."""
        self._stopped.set()


async def _until_it_ends(function: Callable[[], Awaitable[None]]) -> None:
    try:
        await function()
    except Exception:
        _leave_with_traceback()


def _leave_with_traceback() -> NoReturn:
    """End the worker for a bug in Penstock; the loop would only log it, and the engine would wait."""
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(os.EX_SOFTWARE)


def run(serve: Callable[[AsyncioRuntime], Awaitable[int]], channel: Channel) -> int:
    """Run ``serve`` in a new loop; return its exit status."""

    async def main() -> int:
        return await serve(AsyncioRuntime(channel))

    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(main())
