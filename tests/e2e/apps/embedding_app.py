"""The app of the programs in test_embedding.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from penstock import App, Event, Response, Timeouts
from tests.e2e.apps.marks import mark

app = App(__name__)


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/count")
def count(n: int) -> Iterator[int]:
    yield from range(n)


@app.endpoint("/undeclared")
def undeclared(n: int) -> Any:
    return iter(range(n))


@app.endpoint("/csv")
def csv(n: int) -> Response:
    return Response((f"{row}," for row in range(n)), "text/csv")


@app.endpoint("/events")
def events(n: int) -> Iterator[Event[int]]:
    for number in range(n):
        yield Event(number, event="number", id=number)


@app.endpoint("/breaks")
def breaks(n: int) -> Iterator[int]:
    yield from range(n)
    raise ValueError("after the last")


@app.endpoint("/raw")
def raw(body: bytes) -> bytes:
    return body[::-1]


@app.endpoint("/fail")
def fail(text: str) -> None:
    raise ValueError(text)


@app.endpoint("/sleep", pool="sleeping", timeouts=Timeouts(execution=0.3))
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.endpoint("/hold", pool="holding", max_queue=1)
def hold() -> None:
    mark("started")
    try:
        time.sleep(60)
    finally:
        mark("interrupted")


@app.endpoint("/drip", pool="dripping")
def drip() -> Iterator[int]:
    try:
        while True:
            yield 1
            time.sleep(0.01)
    finally:
        mark("closed")
