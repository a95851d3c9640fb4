"""Work of every kind that the metrics distinguish and the access log has a line for."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

from penstock import App, Batching, Context, Retries, Timeouts

FOREVER = 60.0

app = App(__name__)


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/fail")
def fail(input: float) -> float:
    raise ValueError(input)


@app.endpoint("/count")
def count(n: int) -> Iterator[int]:
    yield from range(n)


@app.endpoint("/embed", workers=1, batching=Batching(max_size=4, max_wait=FOREVER))
def embed(batch: list[str]) -> list[int]:
    return [len(item) for item in batch]


@app.endpoint("/sleep", workers=1, timeouts=Timeouts(grace=FOREVER))
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.endpoint("/die_once", workers=1, retries=Retries(max_attempts=2))
def die_once(context: Context) -> int:
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return context.attempt


@app.endpoint("/stubborn", workers=1, timeouts=Timeouts(execution=0.2, grace=0.1))
def stubborn() -> None:
    give_up_at = time.monotonic() + FOREVER
    while time.monotonic() < give_up_at:
        with contextlib.suppress(BaseException):
            time.sleep(FOREVER)
