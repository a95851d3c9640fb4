"""Endpoints for the tests of gRPC: each does one thing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import trio
import trio.lowlevel

from penstock import App, Context, Event, Response, Timeouts, Upload
from penstock.errors import NotFound
from tests.e2e.apps.marks import mark, wait_for_marks

app = App(__name__)


@app.endpoint("/square")
def square(input: float) -> float:
    """Return the square."""
    return input**2


@app.endpoint("/count", pool="streams", concurrency=20)
async def count(n: int, delay: float = 0.0, size: int = 1) -> AsyncIterator[dict[str, Any]]:
    """Count, with a text of this size in each chunk."""
    for number in range(n):
        await trio.sleep(delay)
        yield {"token": number, "text": "x" * size}


@app.endpoint("/endless", pool="streams")
async def endless(size: int = 1000) -> AsyncIterator[str]:
    """Stream until cancelled."""
    try:
        while True:
            yield "x" * size
            await trio.lowlevel.checkpoint()
    finally:
        mark("endless-ended")


@app.endpoint("/letters", pool="streams", media_type="text/plain")
async def letters(word: str) -> AsyncIterator[str]:
    """Stream raw text."""
    for letter in word:
        yield letter


@app.endpoint("/events", pool="streams")
async def events() -> AsyncIterator[Event[int]]:
    """Stream events."""
    yield Event(1, "first", "a")
    yield Event(2)


@app.endpoint("/broken", pool="streams")
async def broken() -> AsyncIterator[int]:
    """Fail after a chunk."""
    yield 1
    raise ValueError("the secret of a stream")


@app.endpoint("/sleep", pool="sleepers", timeouts=Timeouts(execution=1.0))
async def sleep(seconds: float) -> str:
    """Sleep."""
    mark("sleep-started")
    try:
        await trio.sleep(seconds)
    except BaseException:
        mark("sleep-cancelled")
        raise
    return "slept"


@app.endpoint("/hold", pool="held", max_queue=1)
def hold(name: str) -> str:
    """Wait for the test."""
    mark(f"started-{name}")
    wait_for_marks("release")
    return name


@app.endpoint("/fail")
def fail(kind: str) -> int:
    """Fail in one of several ways."""
    if kind == "missing":
        raise NotFound("no such customer")
    raise ValueError("the secret of a handler")


@app.endpoint("/length")
def length(body: bytes) -> int:
    """Return the size of a raw body."""
    return len(body)


@app.endpoint("/repeat")
def repeat(size: int) -> bytes:
    """Return a raw body of this size."""
    return b"x" * size


@app.endpoint("/teapot")
def teapot() -> Response:
    """Return headers and a status."""
    return Response(b"tea", media_type="text/tea", headers={"X-Leaf": "green"}, status=202)


@app.endpoint("/users/{user_id}/caption")
def caption(user_id: int, words: int = 3) -> list[int]:
    """Read the path and the query, or the body."""
    return [user_id, words]


@app.endpoint("/sum", method="GET")
def add(first: int, second: int) -> int:
    """Read the query."""
    return first + second


@app.endpoint("/picture")
def picture(file: Upload, words: int = 3) -> list[Any]:
    """Read a form."""
    return [file.name, len(file.content), words]


@app.endpoint("/about")
def about(ctx: Context) -> dict[str, Any]:
    """Report what the handler knows of its caller."""
    return {
        "request_id": ctx.request_id,
        "principal": ctx.principal,
        "remaining": ctx.remaining(),
        "headers": dict(ctx.headers),
    }


@app.endpoint("/die", pool="mortals", idempotent=False)
def die() -> Iterator[int]:
    """End the worker."""
    import os

    os._exit(3)
    yield 0
