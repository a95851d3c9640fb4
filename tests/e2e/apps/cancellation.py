"""Handlers that do not return by themselves, each stuck in another way.

Those that can be interrupted have a long grace, so that a worker which lives on was not merely lucky; those that
cannot have a short one. Each tells by a mark, named for its job, that its ``finally`` ran and what it saw.
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

FOR_EVER = 60.0
INTERRUPTIBLE = Timeouts(execution=0.4, grace=20.0)
HOPELESS = Timeouts(execution=0.4, grace=0.4)


@contextlib.contextmanager
def cleaning_up(ctx: Context) -> Iterator[None]:
    """Act as a careful handler does: a ``finally`` marks the job, with the exception that passed through."""
    try:
        yield
    finally:
        mark(ctx.job_id, type(sys.exception()).__name__ if sys.exception() else "nothing")


# ---- who is there


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
        time.sleep(FOR_EVER)

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
                time.sleep(FOR_EVER)


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
        time.sleep(FOR_EVER)
    finally:
        mark("+".join(sorted(names)), type(sys.exception()).__name__)
    return names


@app.endpoint("/swallow-once", pool="inline", timeouts=INTERRUPTIBLE)
def swallow_once(ctx: Context) -> str:
    try:
        time.sleep(FOR_EVER)
    except BaseException as error:
        mark(ctx.job_id, type(error).__name__)
    return "as if nothing had been"


@app.endpoint("/stuck-model", pool="model", timeouts=INTERRUPTIBLE)
class StuckModel:
    def setup(self) -> None:
        self.calls = 0

    def predict(self, ctx: Context, seconds: float = FOR_EVER) -> int:
        self.calls += 1
        with cleaning_up(ctx):
            time.sleep(seconds)
        return self.calls


# ---- sync generators


class StuckStream:
    def before(self, ctx: Context) -> Iterator[int]:
        with cleaning_up(ctx):
            time.sleep(FOR_EVER)
            yield 0

    def inside(self, ctx: Context) -> Iterator[int]:
        with cleaning_up(ctx):
            yield 0
            time.sleep(FOR_EVER)
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
        await trio.sleep(FOR_EVER)


@app.endpoint("/stuck-asyncio", pool="asyncio", concurrency=2, timeouts=INTERRUPTIBLE)
async def stuck_asyncio(ctx: Context) -> None:
    with cleaning_up(ctx):
        await asyncio.sleep(FOR_EVER)


@app.endpoint("/stuck-task-stream", pool="tasks", concurrency=2, timeouts=INTERRUPTIBLE)
async def stuck_task_stream(ctx: Context) -> AsyncIterator[int]:
    with cleaning_up(ctx):
        yield 0
        await trio.sleep(FOR_EVER)


@app.endpoint("/stuck-asyncio-stream", pool="asyncio", concurrency=2, timeouts=INTERRUPTIBLE)
async def stuck_asyncio_stream(ctx: Context) -> AsyncIterator[int]:
    with cleaning_up(ctx):
        yield 0
        await asyncio.sleep(FOR_EVER)


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


# ---- what only a kill stops


class Hopeless:
    def long_numpy_call(self) -> None:
        row = numpy.ones(400_000)
        numpy.convolve(row, row)  # 160 thousand million multiplications in one call of C

    def swallow(self) -> None:
        while True:
            try:
                time.sleep(FOR_EVER)
            except BaseException:
                continue

    def clean_up_for_ever(self) -> None:
        try:
            time.sleep(FOR_EVER)
        finally:
            time.sleep(FOR_EVER)


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
            await trio.sleep(FOR_EVER)
    while how == "swallow":
        try:
            await trio.sleep(FOR_EVER)
        except BaseException:
            continue
    getattr(Hopeless(), how)()  # blocks the loop, and cannot be reached


@app.endpoint("/hopeless-asyncio", pool="asyncio", concurrency=2, timeouts=HOPELESS)
async def hopeless_asyncio() -> None:
    while True:
        try:
            await asyncio.sleep(FOR_EVER)
        except BaseException:
            continue


@app.endpoint("/innocent", pool="tasks", concurrency=2)
async def innocent(ctx: Context) -> int:
    """Runs beside the hopeless: for as long as it takes in its first attempt, not at all in another."""
    if ctx.attempt == 1:
        await trio.sleep(FOR_EVER)
    return ctx.attempt


# ---- threads


@app.endpoint("/stuck-thread", pool="threads", concurrency=2, timeouts=HOPELESS)
def stuck_thread() -> None:
    time.sleep(FOR_EVER)


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
