"""The app that is measured. Its handlers do next to nothing, so that only Penstock's own cost remains."""

from __future__ import annotations

import time
from collections.abc import Iterator

from penstock import App, Timeouts

app = App(__name__)


@app.endpoint("/square")
def square(input: float) -> float:
    """Return the square, at next to no cost."""
    return input**2


@app.endpoint("/count")
def count(n: int) -> Iterator[dict[str, int]]:
    """Stream ``n`` chunks as fast as possible."""
    for i in range(n):
        yield {"token": i}


@app.endpoint("/sleep", workers=1, timeouts=Timeouts(execution=0.2, grace=0.5))
def sleep(seconds: float) -> None:
    """Sleep, possibly past the deadline."""
    time.sleep(seconds)


@app.endpoint("/spin", workers=1, timeouts=Timeouts(grace=0.5))
def spin(seconds: float) -> None:
    """Keep a core busy in a Python loop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
