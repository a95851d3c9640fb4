"""Attempts of ``async def`` handlers: a task each, in a scope that its deadline and a cancel close.

Written once for both loops: what differs between trio and asyncio comes in through ``Scope`` and ``Event``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from time import perf_counter
from typing import Any, Literal, Protocol

from penstock.wire import FAILED_HANDLER, Chunk, Done, Failure, Run
from penstock.worker.attempts import END_OF_STREAM, WINDOW_BYTES, Batch, Invocation, LiveEndpoint, Result
from penstock.worker.forks import leave_if_forked

# How code that was written for asyncio fails under trio: asyncio itself, sniffio and anyio, trio's run loop.
_FOREIGN_LOOP = (
    "no running event loop",
    "no current event loop",
    "unknown async library",
    "unrecognized yield message",
)
_MEND = '; this endpoint runs on trio; declare it with runtime="asyncio" for code that needs asyncio'


class Event(Protocol):
    """What ``trio.Event`` and ``asyncio.Event`` have in common."""

    def set(self) -> object:
        """Let all who wait go on."""

    async def wait(self) -> object:
        """Wait until it is set."""


class Scope(Protocol):
    """Where a task runs: it can be cancelled, and cancels itself at the deadline."""

    def cancel(self) -> None:
        """Raise the loop's cancellation inside the task."""

    @property
    def cancelled(self) -> bool:
        """Whether that has been asked for, or the deadline has passed."""


class TaskAttempt:
    """One attempt in a task of its own.

    Parameters
    ----------
    run, live:
        What to run.
    runtime:
        The loop that it will run on, to name it in the mend of an error.
    new_event:
        ``trio.Event`` or ``asyncio.Event``.
    send:
        Posts a chunk, or nothing, and returns whether everything posted has left; ``wake`` follows if not.
    """

    def __init__(
        self,
        run: Run,
        live: LiveEndpoint,
        *,
        runtime: Literal["trio", "asyncio"],
        new_event: Callable[[], Event],
        send: Callable[[Chunk | None], bool],
    ) -> None:
        self.attempt = run.attempt
        self.deadline = run.deadline
        self._call = Invocation(run, live, lambda: self._cancelled)
        self._live = live
        self._runtime = runtime
        self._new_event = new_event
        self._send = send
        self._scope: Scope | None = None
        self._is_cancelled_early = False
        self._credit = WINDOW_BYTES
        self._room: Event | None = None  # there while the stream waits for room

    @property
    def _cancelled(self) -> bool:
        return self._is_cancelled_early or (self._scope is not None and self._scope.cancelled)

    def enter(self, scope: Scope) -> None:
        """Tell it the scope that it runs in, before ``run``. A cancel from before that is made up for."""
        self._scope = scope
        if self._is_cancelled_early:
            scope.cancel()

    def cancel(self) -> None:
        """Stop it; it ends in its own time, with ``Done``."""
        if self._scope is None:
            self._is_cancelled_early = True
        else:
            self._scope.cancel()

    def credit(self, size_bytes: int) -> None:
        """Give back room in the window of its stream."""
        self._credit += size_bytes
        self.wake()

    def wake(self) -> None:
        """Let a stream that waits look again whether it has room."""
        if self._room is not None:
            self._room.set()

    async def run(self) -> Done:
        """Run the attempt. Never raises: what cancelled it ends here, at the border of its scope."""
        began = perf_counter()
        try:
            results = await self._results()
        except BaseException as error:
            if self._cancelled:
                return self._call.cancelled(seconds=perf_counter() - began)
            results = [self._explained(error)] * len(self._call.run.works)
        leave_if_forked(results)
        return Done(self.attempt, perf_counter() - began, results)

    async def _results(self) -> list[Result]:
        endpoint = self._live.endpoint
        if endpoint.is_stream:
            return [await self._stream(self._live.start(self._call))]
        if not endpoint.batching:
            return [self._live.encode(await self._live.start(self._call))]
        batch = Batch(self._live, self._call.run.works)
        if batch.decoded:
            await self._settle(batch)
        return batch.results

    async def _settle(self, batch: Batch) -> None:
        try:
            batch.settle(await self._live.start_batch(self._call, batch))
        except Exception as error:
            if self._cancelled:
                raise
            batch.fail(self._explained(error))

    async def _stream(self, generator: AsyncGenerator[Any, None]) -> Result:
        try:
            async for value in generator:
                leave_if_forked()
                await self._send_chunk(self._live.encode_chunk(value))
        finally:
            # Whatever stopped it, its own finally blocks run now and in this scope, not when it is collected.
            await generator.aclose()
        return END_OF_STREAM

    async def _send_chunk(self, body: bytes) -> None:
        self._credit -= len(body)
        has_left = self._send(Chunk(self.attempt, body))
        while not has_left or self._credit <= 0:
            self._room = self._new_event()
            try:
                await self._room.wait()
            finally:
                self._room = None
            has_left = self._send(None)

    def _explained(self, error: BaseException) -> Failure:
        failure = self._live.failure_of(error)
        text = failure.detail.lower()
        if self._runtime == "trio" and failure.kind == FAILED_HANDLER and any(sign in text for sign in _FOREIGN_LOOP):
            failure.detail += _MEND
        return failure
