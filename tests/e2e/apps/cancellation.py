"""Handlers that do not return by themselves, each stuck in a different way.

Handlers that can be interrupted have a long grace, so that a surviving worker is not mere luck; the others have a short
one. Each handler's ``finally`` writes a mark, named for the job, that contains the exception it saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import re
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator

import numpy
import trio

from penstock import App, Batching, Context, Timeouts
from tests.e2e.apps.marks import mark

app = App(__name__)

FOREVER = 60.0
INTERRUPTIBLE = Timeouts(execution=0.4, grace=20.0)
HOPELESS = Timeouts(execution=0.4, grace=0.4)


@contextlib.contextmanager
def cleaning_up(ctx: Context) -> Iterator[None]:
    """Act as a careful handler does: a ``finally`` marks the job, with the exception that passed through."""
    try:
        yield
    finally:
        mark(ctx.request_id, type(sys.exception()).__name__ if sys.exception() else "nothing")


# ---- process ids


@app.endpoint("/inline-pid", pool="inline")
def inline_pid() -> int:
    return os.getpid()


@app.endpoint("/tasks-pid", pool="tasks", concurrency=2)
async def tasks_pid() -> int:
    return os.getpid()


@app.endpoint("/asyncio-pid", pool="asyncio", runtime="asyncio", concurrency=2)
async def asyncio_pid() -> int:
    return os.getpid()


@app.endpoint("/threads-pid", pool="threads", concurrency=2)
def threads_pid() -> int:
    return os.getpid()


# ---- sync code that can be interrupted


class Stuck:
    def loop(self) -> None:
        while True:
            pass

    def sleep(self) -> None:
        time.sleep(FOREVER)

    def lock(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    def event(self) -> None:
        threading.Event().wait()

    def queue(self) -> None:
        queue.Queue().get()

    def recv(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.recv(1)

    def pipe(self) -> None:
        readable, _writable = os.pipe()
        os.read(readable, 1)

    def regex(self) -> None:
        re.match(r"(a+)+$", "a" * 64 + "b")

    def short_numpy_calls(self) -> None:
        row = numpy.ones(100_000)
        while True:
            row.sum()

    def except_exception(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                time.sleep(FOREVER)


@app.endpoint("/stuck", pool="inline", timeouts=INTERRUPTIBLE)
def stuck(how: str, ctx: Context) -> None:
    with cleaning_up(ctx):
        getattr(Stuck(), how)()


@app.endpoint("/stuck-inline-asyncio", pool="asyncio", timeouts=INTERRUPTIBLE)
def stuck_inline_asyncio(how: str, ctx: Context) -> None:
    stuck(how, ctx)


@app.endpoint("/stuck-batch", pool="inline", batching=Batching(max_size=2, max_wait=20.0), timeouts=INTERRUPTIBLE)
def stuck_batch(names: list[str]) -> list[str]:
    try:
        time.sleep(FOREVER)
    finally:
        mark("+".join(sorted(names)), type(sys.exception()).__name__)
    return names


@app.endpoint("/swallow-once", pool="inline", timeouts=INTERRUPTIBLE)
def swallow_once(ctx: Context) -> str:
    try:
        time.sleep(FOREVER)
    except BaseException as error:
        mark(ctx.request_id, type(error).__name__)
    return "as if nothing had been"


@app.endpoint("/stuck-model", pool="model", timeouts=INTERRUPTIBLE)
class StuckModel:
    def setup(self) -> None:
        self.calls = 0

    def predict(self, ctx: Context, seconds: float = FOREVER) -> int:
        self.calls += 1
        with cleaning_up(ctx):
            time.sleep(seconds)
        return self.calls


# ---- sync generators


class StuckStream:
    def before(self, ctx: Context) -> Iterator[int]:
        with cleaning_up(ctx):
            time.sleep(FOREVER)
            yield 0

    def inside(self, ctx: Context) -> Iterator[int]:
        with cleaning_up(ctx):
            yield 0
            time.sleep(FOREVER)
            yield 1

    def never_silent(self, ctx: Context) -> Iterator[int]:
        with cleaning_up(ctx):
            while True:
                yield 0


@app.endpoint("/stuck-stream", pool="inline", timeouts=INTERRUPTIBLE)
def stuck_stream(how: str, ctx: Context) -> Iterator[int]:
    yield from getattr(StuckStream(), how)(ctx)


@app.endpoint("/stuck-stream-asyncio", pool="asyncio", timeouts=INTERRUPTIBLE)
def stuck_stream_asyncio(how: str, ctx: Context) -> Iterator[int]:
    yield from getattr(StuckStream(), how)(ctx)


@app.endpoint("/flood", pool="inline", timeouts=INTERRUPTIBLE)
def flood(ctx: Context) -> Iterator[str]:
    with cleaning_up(ctx):
        while True:
            yield "x" * 100_000


# ---- async code


@app.endpoint("/stuck-task", pool="tasks", concurrency=2, timeouts=INTERRUPTIBLE)
async def stuck_task(ctx: Context) -> None:
    with cleaning_up(ctx):
        await trio.sleep(FOREVER)


@app.endpoint("/stuck-asyncio", pool="asyncio", concurrency=2, timeouts=INTERRUPTIBLE)
async def stuck_asyncio(ctx: Context) -> None:
    with cleaning_up(ctx):
        await asyncio.sleep(FOREVER)


@app.endpoint("/stuck-task-stream", pool="tasks", concurrency=2, timeouts=INTERRUPTIBLE)
async def stuck_task_stream(ctx: Context) -> AsyncIterator[int]:
    with cleaning_up(ctx):
        yield 0
        await trio.sleep(FOREVER)


@app.endpoint("/stuck-asyncio-stream", pool="asyncio", concurrency=2, timeouts=INTERRUPTIBLE)
async def stuck_asyncio_stream(ctx: Context) -> AsyncIterator[int]:
    with cleaning_up(ctx):
        yield 0
        await asyncio.sleep(FOREVER)


@app.endpoint("/flood-tasks", pool="tasks", concurrency=2, timeouts=INTERRUPTIBLE)
async def flood_tasks(ctx: Context) -> AsyncIterator[str]:
    with cleaning_up(ctx):
        while True:
            yield "x" * 100_000


@app.endpoint("/flood-asyncio", pool="asyncio", concurrency=2, timeouts=INTERRUPTIBLE)
async def flood_asyncio(ctx: Context) -> AsyncIterator[str]:
    with cleaning_up(ctx):
        while True:
            yield "x" * 100_000


# ---- handlers that only a kill stops


class Hopeless:
    def long_numpy_call(self) -> None:
        row = numpy.ones(400_000)
        numpy.convolve(row, row)  # 160 billion multiplications in one C call

    def swallow(self) -> None:
        while True:
            try:
                time.sleep(FOREVER)
            except BaseException:
                continue

    def clean_up_for_ever(self) -> None:
        try:
            time.sleep(FOREVER)
        finally:
            time.sleep(FOREVER)


@app.endpoint("/hopeless", pool="inline", timeouts=HOPELESS)
def hopeless(how: str) -> None:
    getattr(Hopeless(), how)()


@app.endpoint("/hopeless-stream", pool="inline", timeouts=HOPELESS)
def hopeless_stream(how: str) -> Iterator[int]:
    yield 0
    getattr(Hopeless(), how)()


@app.endpoint("/hopeless-task", pool="tasks", concurrency=2, timeouts=HOPELESS)
async def hopeless_task(how: str) -> None:
    if how == "shield":
        with trio.CancelScope(shield=True):
            await trio.sleep(FOREVER)
    while how == "swallow":
        try:
            await trio.sleep(FOREVER)
        except BaseException:
            continue
    getattr(Hopeless(), how)()  # blocks the loop, and cannot be reached


@app.endpoint("/hopeless-asyncio", pool="asyncio", concurrency=2, timeouts=HOPELESS)
async def hopeless_asyncio() -> None:
    while True:
        try:
            await asyncio.sleep(FOREVER)
        except BaseException:
            continue


@app.endpoint("/innocent", pool="tasks", concurrency=2)
async def innocent(ctx: Context) -> int:
    """Run beside the hopeless handlers: until the worker is killed in the first attempt, not at all in later ones."""
    if ctx.attempt == 1:
        await trio.sleep(FOREVER)
    return ctx.attempt


# ---- threads


@app.endpoint("/stuck-thread", pool="threads", concurrency=2, timeouts=HOPELESS)
def stuck_thread() -> None:
    time.sleep(FOREVER)


@app.endpoint("/willing-thread", pool="threads", concurrency=2, timeouts=INTERRUPTIBLE)
def willing_thread(ctx: Context) -> None:
    with cleaning_up(ctx):
        while True:
            ctx.check()
            time.sleep(0.01)


@app.endpoint("/stream-thread", pool="threads", concurrency=2, timeouts=INTERRUPTIBLE)
def stream_thread(ctx: Context) -> Iterator[int]:
    with cleaning_up(ctx):
        while True:
            yield 0
            time.sleep(0.01)


@app.endpoint("/neighbour", pool="threads", concurrency=2)
def neighbour(ctx: Context, seconds: float) -> tuple[int, int]:
    time.sleep(seconds)
    return os.getpid(), ctx.attempt
