"""Endpoints of every kind that the page at ``/docs`` shows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from penstock import App, Event, Upload

app = App(__name__, title="Models", version="1.2")


class Point(msgspec.Struct):
    """A point in a picture."""

    x: Annotated[float, msgspec.Meta(ge=0, le=1)]
    y: float = 0.5


class Box(msgspec.Struct, tag="box"):
    corner: Point
    edge: int


class Circle(msgspec.Struct, tag="circle"):
    radius: float


@app.endpoint("/square")
def square(input: float) -> float:
    """Square a number."""
    return input**2


@app.endpoint("/shapes")
def shapes(  # noqa: PLR0917 - the fields of a form
    shape: Box | Circle,
    labels: list[str],
    pair: tuple[int, str],
    mode: Literal["fast", "exact"] = "fast",
    loud: bool = False,
    points: list[Point] | None = None,
    limit: int | None = 10,
    extra: dict[str, Any] | None = None,
) -> list[Any]:
    """Return what has arrived, so that a test can see it."""
    return [shape, labels, pair, mode, loud, points, limit, extra]


@app.endpoint("/count")
def count(n: int, delay: float = 0.0) -> Iterator[dict[str, int]]:
    """Count to n."""
    for i in range(n):
        yield {"token": i}
        time.sleep(delay)


@app.endpoint("/say")
def say(words: list[str]) -> Iterator[str]:
    yield from words


@app.endpoint("/events")
def events() -> Iterator[Event[int] | int]:
    yield Event(7, event="progress", id="a")
    yield 8


@app.endpoint("/breaks")
def breaks() -> Iterator[int]:
    yield 1
    raise ValueError("broken")


@app.endpoint("/size")
def size(body: bytes) -> int:
    return len(body)


@app.endpoint("/users/{user_id}/caption")
def caption(user_id: int, picture: Upload, words: int = 12, more: list[Upload] | None = None) -> list[Any]:
    files = [picture, *(more or [])]
    return [user_id, [(file.name, file.media_type, len(file.content)) for file in files], words]


@app.endpoint("/search", method="GET")
def search(q: str, k: int = 3, tags: list[str] | None = None) -> list[Any]:
    return [q, k, tags]


@app.endpoint("/echo")
def echo(value: Any = None, text: str = "") -> Any:
    return text or value


@app.endpoint("/picture", media_type="image/svg+xml")
def picture() -> str:
    return "<svg xmlns='http://www.w3.org/2000/svg' width='8' height='4'/>"


@app.endpoint("/sleep")
def sleep(seconds: float) -> None:
    time.sleep(seconds)
