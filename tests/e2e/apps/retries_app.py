"""Handlers that fail at first: each returns the attempt that succeeded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import trio

from penstock import App, Backoff, Batching, Context, Retries, Retryable, RetryBudget, Timeouts
from tests.e2e.apps.marks import mark

app = App(__name__)
quick = Retries(max_attempts=4, on=(ConnectionError, TimeoutError), backoff=Backoff(base=0.01), budget=None)
_seen: set[str] = set()  # by one worker


def fail_until(until: int, context: Context, kind: type[Exception] = ConnectionResetError) -> int:
    """Fail before the attempt ``until``, and then return the number of the attempt."""
    if context.attempt < until:
        raise kind(f"attempt {context.attempt} finds nobody there")
    return context.attempt


# ---- each execution mode


@app.endpoint("/inline", retries=quick)
def inline(until: int, context: Context) -> int:
    return fail_until(until, context)


@app.endpoint("/task", pool="tasks", concurrency=4, retries=quick)
async def task(until: int, context: Context) -> int:
    return fail_until(until, context)


@app.endpoint("/nursery", pool="tasks", concurrency=4, retries=quick)
async def nursery(until: int, context: Context) -> int:
    async with trio.open_nursery() as children:
        children.start_soon(trio.lowlevel.checkpoint)
        fail_until(until, context)
    return context.attempt


@app.endpoint("/thread", pool="threads", concurrency=4, retries=quick)
def thread(until: int, context: Context) -> int:
    return fail_until(until, context)


@app.endpoint("/stream", retries=quick)
def stream(until: int, context: Context, chunks: int = 0) -> Iterator[int]:
    for _ in range(chunks):
        yield -1
    yield fail_until(until, context)


@app.endpoint("/task-stream", pool="tasks", concurrency=4, retries=quick)
async def task_stream(until: int, context: Context, chunks: int = 0) -> AsyncIterator[int]:
    for _ in range(chunks):
        yield -1
    yield fail_until(until, context)


@app.endpoint("/thread-stream", pool="threads", concurrency=4, retries=quick)
def thread_stream(until: int, context: Context, chunks: int = 0) -> Iterator[int]:
    for _ in range(chunks):
        yield -1
    yield fail_until(until, context)


@app.endpoint("/batch", workers=1, batching=Batching(max_size=3, max_wait=0.2), retries=quick)
def batch(names: list[str]) -> list[str | Exception]:
    """Fail each name ``again...`` once, and fail the whole batch once if it contains a name ``all...``."""
    new = [name for name in names if name not in _seen]
    _seen.update(names)
    if any(name.startswith("all") for name in new):
        raise ConnectionResetError("all of them")
    return [Retryable(name) if name in new and name.startswith("again") else name for name in names]


# ---- failures that are retried, and others


@app.endpoint("/lasting", retries=quick)
def lasting(context: Context) -> int:
    return fail_until(2, context, ValueError)


@app.endpoint("/once", idempotent=False, retries=quick)
def once(until: int, context: Context) -> int:
    return fail_until(until, context)


@app.endpoint("/asking", idempotent=False, retries=quick)
def asking(delay: float, context: Context) -> int:
    if context.attempt == 1:
        raise Retryable("not there yet", delay=delay)
    return context.attempt


@app.endpoint("/late", retries=quick, timeouts=Timeouts(total=2.0))
def late(context: Context) -> int:
    raise Retryable("in an hour", delay=3600)


@app.endpoint("/patient", retries=quick)
def patient(name: str, delay: float, context: Context) -> int:
    mark(f"{name}-{context.attempt}")
    if context.attempt == 1:
        raise Retryable("later", delay=delay)
    return context.attempt


_mean = RetryBudget(ratio=0.0, floor=6)


@app.endpoint("/hopeless", retries=Retries(max_attempts=5, on=OSError, backoff=None, budget=_mean))
def hopeless() -> None:
    raise OSError("out of order")
