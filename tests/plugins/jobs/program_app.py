"""An app with background jobs, for programs that embed its engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from penstock import App, Jobs, Response

app = App(__name__)


@app.endpoint("/square", jobs=Jobs(), concurrency=2)
def square(x: float) -> float:
    return x * x


@app.endpoint("/reverse", jobs=Jobs())
def reverse(body: bytes) -> bytes:
    return body[::-1]


@app.endpoint("/page", jobs=Jobs())
def page(title: str) -> Response:
    return Response(f"<h1>{title}</h1>", media_type="text/html")


@app.endpoint("/spell", jobs=Jobs())
def spell(word: str) -> Iterator[str]:
    yield from word


@app.endpoint("/fail", jobs=Jobs())
def fail() -> None:
    raise ValueError("no luck")


@app.endpoint("/hold", jobs=Jobs())
def hold(until: str) -> str:
    while not Path(until).exists():
        time.sleep(0.01)
    return "let go"


@app.endpoint("/direct")
def direct(x: float) -> float:
    return x
