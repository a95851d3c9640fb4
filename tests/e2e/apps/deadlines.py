"""Endpoints that overrun each of their timeouts. Pools are named for what may disturb whom."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Iterator

import trio

from penstock import App, Context, Timeouts
from tests.e2e.apps.marks import mark, wait_for_marks

app = App(__name__)

FOREVER = 60.0


# ---- endpoints that must never be disturbed


@app.endpoint("/fast", pool="fast")
def fast() -> int:
    return os.getpid()


@app.endpoint("/fast-roomy", pool="roomy", workers=2)
def fast_roomy() -> int:
    return os.getpid()


@app.endpoint("/fast-task", pool="tasks", concurrency=4)
async def fast_task() -> int:
    await trio.lowlevel.checkpoint()
    return os.getpid()


# ---- execution, with free capacity beside it


def sleep_forever() -> None:
    time.sleep(FOREVER)


@app.endpoint("/execution", pool="lone", timeouts=Timeouts(execution=0.5))
def execution(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.endpoint("/execution-roomy", pool="roomy", timeouts=Timeouts(execution=0.5))
def execution_roomy() -> None:
    sleep_forever()


@app.endpoint("/execution-task", pool="tasks", concurrency=4, timeouts=Timeouts(execution=0.5))
async def execution_task() -> None:
    await trio.sleep(FOREVER)


# ---- queue: jobs behind one that is stuck


class Stuck:
    """Ways to be stuck until the execution timeout, and then for the grace or not."""

    def sleep(self) -> None:
        sleep_forever()

    def hold_the_gil(self) -> None:
        re.match(r"(a+)+$", "a" * 64 + "b")

    def swallow(self) -> None:
        while True:
            try:
                sleep_forever()
            except BaseException:
                mark("swallowed")


@app.endpoint("/stuck", pool="queue", timeouts=Timeouts(execution=1.0, grace=0.3))
def stuck(how: str) -> None:
    getattr(Stuck(), how)()


@app.endpoint("/impatient", pool="queue", timeouts=Timeouts(queue=0.5))
def impatient() -> int:
    return os.getpid()


# ---- total


@app.endpoint("/hold", pool="lone")
def hold(until: str) -> None:
    wait_for_marks(until)


@app.endpoint("/total", pool="lone", timeouts=Timeouts(total=0.8, execution=0.75))
def total(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.endpoint("/die-slowly", pool="lone", timeouts=Timeouts(total=0.8, execution=0.75))
def die_slowly(ctx: Context) -> None:
    if ctx.attempt == 1:
        time.sleep(0.4)
        os._exit(1)
    sleep_forever()


# ---- streams: (pause before, value) of each chunk


@app.endpoint("/first-chunk", pool="lone", timeouts=Timeouts(first_chunk=0.5))
def first_chunk(pauses: list[float]) -> Iterator[int]:
    for number, pause in enumerate(pauses):
        time.sleep(pause)
        yield number


@app.endpoint("/idle", pool="lone", timeouts=Timeouts(idle=0.5))
def idle(pauses: list[float]) -> Iterator[int]:
    for number, pause in enumerate(pauses):
        time.sleep(pause)
        yield number


@app.endpoint("/first-chunk-async", pool="tasks", concurrency=4, timeouts=Timeouts(first_chunk=0.5))
async def first_chunk_async(pauses: list[float]) -> AsyncIterator[int]:
    for number, pause in enumerate(pauses):
        await trio.sleep(pause)
        yield number


@app.endpoint("/idle-async", pool="tasks", concurrency=4, timeouts=Timeouts(idle=0.5))
async def idle_async(pauses: list[float]) -> AsyncIterator[int]:
    for number, pause in enumerate(pauses):
        await trio.sleep(pause)
        yield number


@app.endpoint("/endless", pool="lone", timeouts=Timeouts(execution=0.5))
def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        time.sleep(0.02)


@app.endpoint("/endless-total", pool="lone", timeouts=Timeouts(total=0.5))
def endless_total() -> Iterator[int]:
    yield from endless()


# ---- grace


@app.endpoint("/stubborn", pool="grace", timeouts=Timeouts(execution=0.4, grace=0.6))
def stubborn() -> None:
    Stuck().swallow()


@app.endpoint("/slow-to-stop", pool="grace", timeouts=Timeouts(execution=0.4, grace=10.0))
def slow_to_stop(ctx: Context) -> None:
    try:
        sleep_forever()
    finally:
        time.sleep(0.5)
        mark(ctx.request_id)


@app.endpoint("/grace-pid", pool="grace")
def grace_pid() -> int:
    return os.getpid()
