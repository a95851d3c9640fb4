"""Endpoints as tools: each does one thing that an answer may have to say."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from penstock import App, Batching, Context, Response, Timeouts
from penstock_mcp import Tool

app = App(__name__)

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


class Point(msgspec.Struct):
    """A point of the plane."""

    x: float
    y: float = 0.0


@app.endpoint("/add", dialects=[Tool(description="Adds two numbers", read_only=True, idempotent=True)])
def add(a: float, b: float = 1.0) -> float:
    """Return the sum."""
    return a + b


@app.endpoint("/move", dialects=[Tool(title="Move a point")])
def move(point: Point) -> Point:
    """Move a point to the right."""
    return Point(point.x + 1, point.y)


@app.endpoint("/points/{count}", dialects=[Tool(name="make-points")])
def points(count: int) -> list[Point]:
    """Return some points."""
    return [Point(float(number)) for number in range(count)]


@app.endpoint("/upper", batching=Batching(max_size=4), dialects=[Tool()])
def upper(text: list[str]) -> list[str]:
    """Return a text in capital letters."""
    return [each.upper() for each in text]


@app.endpoint("/words", dialects=[Tool()])
def words(text: str) -> Iterator[str]:
    """Yield the words of a text."""
    for word in text.split():
        yield f"{word} "


@app.endpoint("/picture", media_type="image/png", dialects=[Tool()])
def picture() -> bytes:
    """Return a picture of one pixel."""
    return PNG


@app.endpoint("/file", dialects=[Tool()])
def file(media_type: str) -> Response:
    """Return three bytes of any type."""
    return Response(b"abc", media_type=media_type)


@app.endpoint("/whoami", method="GET", dialects=[Tool()])
def whoami(context: Context) -> dict[str, Any]:
    """Return the caller."""
    return {"principal": context.principal}


@app.endpoint("/fail", dialects=[Tool()])
def fail() -> int:
    """Fail."""
    raise RuntimeError("a secret")


@app.endpoint("/steps", workers=1, concurrency=4, dialects=[Tool()])
def steps(number: int, context: Context, pause: float = 0.02) -> str:
    """Report some steps, with a pause after each."""
    for step in range(number):
        context.progress(step + 1, number, f"step {step + 1}")
        time.sleep(pause)
    return "done"


@app.endpoint("/slow", workers=1, timeouts=Timeouts(execution=0.2), dialects=[Tool()])
async def slow() -> None:
    """Take longer than is allowed."""
    import trio

    await trio.sleep(10)


@app.endpoint("/stuck", workers=1, max_queue=1, dialects=[Tool()])
def stuck(context: Context) -> None:
    """Work until no caller waits any more."""
    while not context.cancelled:
        time.sleep(0.01)
