"""Attempts of ``async def`` handlers: a task each, in a scope that is cancelled by its deadline or on request.

The code is the same for both loops. The differences between trio and asyncio are behind ``Scope`` and ``LoopEvent``.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from time import perf_counter
from typing import Any, Literal, Protocol

from penstock.body_files import BodyFile
from penstock.codec.chunk_stream import ChunkStream
from penstock.wire import FAILED_HANDLER, WINDOW_BYTES, Chunk, Done, Failure, Head, Run
from penstock.worker.attempts import END_OF_STREAM, Batch, Group, Invocation, JobResult, LiveEndpoint
from penstock.worker.forks import leave_if_forked
from penstock.worker.large_bodies import close_all, load, set_aside_all
from penstock.worker.log_records import REQUEST_IDS
from penstock.worker.progress_reports import Outlet
from penstock.worker.trace_entry import enter_trace

# Messages of code written for asyncio that runs under trio: from asyncio itself, sniffio and anyio, trio's run loop.
_FOREIGN_LOOP = (
    "no running event loop",
    "no current event loop",
    "unknown async library",
    "unrecognized yield message",
)
_FOREIGN_LOOP_FIX = '; this endpoint runs on trio; declare it with runtime="asyncio" for code that needs asyncio'


class LoopEvent(Protocol):
    """The common part of ``trio.Event`` and ``asyncio.Event``."""

    def set(self) -> object:
        """Wake all tasks that wait."""

    async def wait(self) -> object:
        """Wait until the event is set."""


class Scope(Protocol):
    """The cancel scope of a task. It cancels itself at the deadline."""

    def cancel(self) -> None:
        """Raise the loop's cancellation exception inside the task."""

    @property
    def cancelled(self) -> bool:
        """True once ``cancel`` has been called, or the deadline has passed."""


class TaskRuntime(Protocol):
    """The loop, as far as its tasks need one."""

    name: Literal["trio", "asyncio"]

    def new_event(self) -> LoopEvent:
        """Create an event that tasks of this loop can wait for."""

    async def in_thread(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in a thread, to its end: a cancellation takes effect only then."""


class TaskAttempt:
    """One attempt in a task of its own.

    Parameters
    ----------
    run, live:
        The attempt, and its endpoint.
    runtime:
        The loop that it runs on. Errors that come from code for the other loop name the fix.
    send:
        Posts a piece of a stream, or nothing, and writes. Returns True if everything posted has been written; otherwise
        ``wake`` is called once it has.
    outlet:
        The way out for its progress reports.
    files:
        The bodies of the run that are in files, as ``Channel.take_files`` returns them.
    """

    def __init__(
        self,
        run: Run,
        live: LiveEndpoint,
        runtime: TaskRuntime,
        send: Callable[[Head | Chunk | None], bool],
        outlet: Outlet,
        *,
        files: Sequence[BodyFile | None] = (),
    ) -> None:
        self.attempt = run.attempt
        self.deadline = run.deadline
        self._invocation = Invocation(run, live, lambda: self._cancelled, outlet)
        self._live = live
        self._runtime = runtime
        self._send = send
        self._files = files
        self._scope: Scope | None = None
        self._is_cancelled_early = False
        self._credit = WINDOW_BYTES
        self._room: LoopEvent | None = None  # set while the stream waits for room

    @property
    def _cancelled(self) -> bool:
        return self._is_cancelled_early or (self._scope is not None and self._scope.cancelled)

    def enter(self, scope: Scope) -> None:
        """Set the scope that it runs in, before ``run``. If ``cancel`` came first, it takes effect now."""
        self._scope = scope
        if self._is_cancelled_early:
            scope.cancel()

    def cancel(self) -> None:
        """Request that it stop. It still ends with a ``Done``, once the user's code has returned."""
        if self._scope is None:
            self._is_cancelled_early = True
        else:
            self._scope.cancel()

    def credit(self, size_bytes: int) -> None:
        """Add room to the window of its stream."""
        self._credit += size_bytes
        self.wake()

    def wake(self) -> None:
        """Make a waiting stream check again whether it has room."""
        if self._room is not None:
            self._room.set()

    async def run(self) -> Done:
        """Run the attempt. Never raises: its cancellation is caught here, where its scope ends."""
        done = await self._run()
        self._invocation.end()
        return done

    async def _run(self) -> Done:
        began = perf_counter()
        run = self._invocation.run
        REQUEST_IDS.set(run.request_ids)
        if run.trace is not None:
            enter_trace(run, run.trace)
        try:
            if self._files:
                await self._load()
            results = await self._results()
            if self._live.has_large:
                await self._runtime.in_thread(set_aside_all, results)
        except BaseException as error:
            if self._cancelled:
                return self._invocation.cancelled(seconds=perf_counter() - began)
            results = [explained(error, self._live, self._runtime)] * len(self._invocation.run.works)
        leave_if_forked(results)
        return Done(self.attempt, perf_counter() - began, results)

    async def _load(self) -> None:
        """Read the bodies that are in files, in a thread: that takes a while."""
        try:
            await self._runtime.in_thread(load, self._invocation.run, self._files)
        finally:
            close_all(self._files)  # if there was no thread

    async def _results(self) -> list[JobResult]:
        if self._live.endpoint.batching:
            batch = Batch(self._live, self._invocation.run.works)
            for group in batch.groups():
                await self._settle(group)
            return batch.results
        returned = self._live.start(self._invocation)
        if inspect.isawaitable(returned):  # not so if the handler yields, or is annotated to return an iterator
            returned = await returned
        stream = self._live.stream_of(self._invocation, returned)
        if stream is not None:
            return [await self._stream(stream)]
        chunk_filter = self._invocation.chunk_filter
        return [self._live.encode(returned if chunk_filter is None else chunk_filter.whole(returned))]

    async def _settle(self, group: Group) -> None:
        try:
            group.settle(await self._live.start_group(self._invocation, group))
        except Exception as error:
            if self._cancelled:
                raise
            group.fail(explained(error, self._live, self._runtime))

    async def _stream(self, stream: ChunkStream) -> JobResult:
        chunks = stream.chunks if stream.is_async else _asynchronous(stream.chunks)
        self._send(Head(self.attempt, stream.head))
        try:
            async for value in chunks:
                leave_if_forked()
                await self._send_chunk(stream.encode(value))
        finally:
            # The generator's finally blocks must run now and in this scope, not when it is garbage-collected.
            close = getattr(chunks, "aclose", None)  # an iterator that is not a generator may have none
            if close is not None:
                await close()
        return END_OF_STREAM

    async def _send_chunk(self, body: bytes) -> None:
        if not body:
            return
        self._credit -= len(body)
        is_flushed = self._send(Chunk(self.attempt, body))
        while not is_flushed or self._credit <= 0:
            self._room = self._runtime.new_event()
            try:
                await self._room.wait()
            finally:
                self._room = None
            is_flushed = self._send(None)


def explained(error: BaseException, live: LiveEndpoint, runtime: TaskRuntime) -> Failure:
    """Return the failure to report for an exception in the loop; if code for the other loop raised it, with the fix."""
    failure = live.failure_of(error)
    text = failure.detail.lower()
    if runtime.name == "trio" and failure.kind == FAILED_HANDLER and any(sign in text for sign in _FOREIGN_LOOP):
        failure.detail += _FOREIGN_LOOP_FIX
    return failure


async def _asynchronous(chunks: Iterable[Any]) -> AsyncIterator[Any]:
    """Iterate over chunks that an ``async def`` returns as an ordinary iterator."""
    for chunk in chunks:
        yield chunk
