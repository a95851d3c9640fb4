"""An app whose requests can end in every way."""

from __future__ import annotations

import time
from collections.abc import Iterator

from penstock import App

app = App(__name__)


@app.endpoint("/size")
def size(body: bytes) -> int:
    return len(body)


@app.endpoint("/fail")
def fail(body: bytes) -> int:
    raise ValueError("no")


@app.endpoint("/sleep", pool="sleep")
def sleep(body: bytes) -> None:
    time.sleep(60.0)


@app.endpoint("/count", pool="streams", workers=2)
def count(body: bytes) -> Iterator[int]:
    for number in range(60):
        yield number
        time.sleep(1.0)


@app.endpoint("/break", pool="streams")
def break_(body: bytes) -> Iterator[int]:
    yield 1
    raise ValueError("no")
