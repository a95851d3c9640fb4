"""The worker's loop under trio. Imported only if a pool runs on trio."""

from __future__ import annotations

import select
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import trio

from penstock.wire import Done
from penstock.worker.channel import Channel
from penstock.worker.modes.tasks import LoopEvent, Scope, TaskAttempt
from penstock.worker.program import Program

BRISK_SECONDS = 0.001
"""The time for which the next message is waited for without the loop, whose turn costs as much as a short attempt.

Other tasks, if user code has started any, wait as long: no longer than an inline attempt may block them anyway.
"""


class TrioScope:
    """A trio cancel scope, with the interface of ``Scope``."""

    __slots__ = ("_scope",)

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope

    def cancel(self) -> None:
        """Raise ``trio.Cancelled`` at every checkpoint inside."""
        self._scope.cancel()

    @property
    def cancelled(self) -> bool:
        """True once it has been cancelled, by ``cancel`` or by its deadline."""
        return self._scope.cancel_called


class TrioRuntime:
    """A reading task, a writing task, and a task for each asynchronous attempt.

    Parameters
    ----------
    channel:
        The connection to the engine.
    """

    name: Literal["trio"] = "trio"

    def __init__(self, channel: Channel) -> None:
        self._descriptor = channel.fileno()
        self._channel = channel
        self._serving = trio.CancelScope()
        self._idle_writer = trio.lowlevel.ParkingLot()
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        self._poll = poll.poll
        self._nursery: trio.Nursery
        self._token = trio.lowlevel.current_trio_token()

    async def serve(self, program: Program) -> None:
        """Pass everything that arrives to the program, until ``stop``."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._write, program)
            with self._serving:
                await self._read(program)
            nursery.cancel_scope.cancel()

    async def _read(self, program: Program) -> None:
        # Wait before reading: with one job in flight there is nearly always nothing to read yet, and the wait is the
        # checkpoint that lets all other tasks run.
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            until = time.monotonic() + BRISK_SECONDS
            while True:
                data = self._channel.receive()
                if data is not None:
                    program.receive(data)
                if not program.may_block or time.monotonic() >= until or not self._poll(BRISK_SECONDS * 1000):
                    break

    async def _write(self, program: Program) -> None:
        while True:
            # If it is not flushed, resuming a stream has filled the socket again while this task was not parked, so its
            # wake-up was lost.
            if self._channel.is_flushed:
                await self._idle_writer.park()
            while not self._channel.flush():
                await trio.lowlevel.wait_writable(self._descriptor)
            program.on_flushed()

    def new_event(self) -> LoopEvent:
        """Return a new ``trio.Event``."""
        return trio.Event()

    def start_task(self, attempt: TaskAttempt, finish: Callable[[Done], None]) -> None:
        """Run an attempt in the nursery."""
        self._nursery.start_soon(self._run, attempt, finish)

    async def _run(self, attempt: TaskAttempt, finish: Callable[[Done], None]) -> None:
        # trio's clock differs from the engine's, but the time left until the deadline is the same on both.
        deadline = trio.current_time() + (attempt.deadline - time.monotonic())
        with trio.CancelScope(deadline=deadline) as scope:
            attempt.enter(TrioScope(scope))
            done = await attempt.run()
        finish(done)

    def start(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a function in the nursery."""
        self._nursery.start_soon(function)

    async def checkpoint(self) -> None:
        """Let all other tasks take a turn."""
        await trio.lowlevel.checkpoint()

    async def in_scope(self, awaitable: Awaitable[Any], enter: Callable[[Scope], None]) -> Any:
        """Await in a cancel scope; return None if that was cancelled."""
        with trio.CancelScope() as scope:
            enter(TrioScope(scope))
            return await awaitable
        return None

    async def in_thread(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in a thread, to its end."""
        await trio.to_thread.run_sync(function, *arguments)

    def flush_soon(self) -> None:
        """Wake the writing task, unless it is at work already."""
        self._idle_writer.unpark()

    def call_soon_threadsafe(self, function: Callable[[], None]) -> None:
        """Run a function in the loop."""
        self._token.run_sync_soon(function)

    def stop(self) -> None:
        """Make ``serve`` return."""
        self._serving.cancel()


def run(serve: Callable[[TrioRuntime], Awaitable[int]], channel: Channel) -> int:
    """Run ``serve`` in a new loop; return its exit status."""

    async def main() -> int:
        return await serve(TrioRuntime(channel))

    return trio.run(main)
