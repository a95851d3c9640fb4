"""The worker's loop under trio. Imported only where a pool runs on trio."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import trio

from penstock.wire import Done
from penstock.worker.channel import Outbox, Receiver
from penstock.worker.modes.tasks import Event, TaskAttempt
from penstock.worker.program import Program


class TrioScope:
    """A cancel scope, as a task attempt sees it."""

    __slots__ = ("_scope",)

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope

    def cancel(self) -> None:
        """Raise ``trio.Cancelled`` at every checkpoint inside."""
        self._scope.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether it has been cancelled, by its deadline too."""
        return self._scope.cancel_called


class TrioRuntime:
    """A reader, a writer, and a task for each asynchronous attempt.

    Parameters
    ----------
    engine:
        The socket to the engine, non-blocking.
    outbox:
        What is written to it.
    """

    name: Literal["trio"] = "trio"

    def __init__(self, engine: socket.socket, outbox: Outbox) -> None:
        self._descriptor = engine.fileno()
        self._receiver = Receiver(engine)
        self._outbox = outbox
        self._serving = trio.CancelScope()
        self._idle_writer = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery
        self._token = trio.lowlevel.current_trio_token()

    async def serve(self, program: Program) -> None:
        """Read and obey until ``stop``."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._write, program)
            with self._serving:
                await self._read(program)
            nursery.cancel_scope.cancel()

    async def _read(self, program: Program) -> None:
        # Waiting first, and not trying to read first: at one job in flight the try would nearly always be in vain, and
        # the wait is the checkpoint at which everything else gets its turn.
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            data = self._receiver.receive()
            if data is not None:
                program.receive(data)

    async def _write(self, program: Program) -> None:
        while True:
            # Not empty: going on with a stream has filled the socket again, with nobody parked here to be woken.
            if self._outbox.is_empty:
                await self._idle_writer.park()
            while not self._outbox.flush():
                await trio.lowlevel.wait_writable(self._descriptor)
            program.on_drained()

    def new_event(self) -> Event:
        """Make a ``trio.Event``."""
        return trio.Event()

    def start_task(self, attempt: TaskAttempt, finish: Callable[[Done], None]) -> None:
        """Run an attempt in the nursery."""
        self._nursery.start_soon(self._run, attempt, finish)

    async def _run(self, attempt: TaskAttempt, finish: Callable[[Done], None]) -> None:
        # trio's clock is not the engine's; what is left until the deadline is the same on both.
        deadline = trio.current_time() + (attempt.deadline - time.monotonic())
        with trio.CancelScope(deadline=deadline) as scope:
            attempt.enter(TrioScope(scope))
            done = await attempt.run()
        finish(done)

    def flush_soon(self) -> None:
        """Wake the writer; one that is at work already needs no waking."""
        self._idle_writer.unpark()

    def call_soon_threadsafe(self, function: Callable[[], None]) -> None:
        """Run a function in the loop."""
        self._token.run_sync_soon(function)

    def stop(self) -> None:
        """Return from ``serve``."""
        self._serving.cancel()


def run(live: Callable[[TrioRuntime], Awaitable[int]], engine: socket.socket, outbox: Outbox) -> int:
    """Run a worker's life in a new loop; returns what it returns."""

    async def main() -> int:
        return await live(TrioRuntime(engine, outbox))

    return trio.run(main)
