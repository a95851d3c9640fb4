"""Endpoints that return their remaining time, and the headers for the next service."""

from __future__ import annotations

import time
from collections.abc import Iterator

from penstock import App, Batching, Context, Timeouts

app = App(__name__)


@app.endpoint("/sleep", timeouts=Timeouts(total=5))
def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@app.endpoint("/remaining", pool="quick", timeouts=Timeouts(total=50))
def remaining(ctx: Context) -> float:
    return ctx.remaining()


@app.endpoint("/downstream", pool="quick", timeouts=Timeouts(execution=None))
def downstream(ctx: Context) -> dict[str, str]:
    return ctx.headers_for_downstream()


@app.endpoint("/downstream-batch", batching=Batching(max_size=4))
def downstream_batch(numbers: list[int], ctx: Context) -> list[dict[str, str]]:
    return [ctx.headers_for_downstream()] * len(numbers)


@app.endpoint("/late", pool="quick")
def late(ctx: Context) -> dict[str, str]:
    """Wait until no time is left, then build the headers of a downstream call."""
    while not ctx.cancelled:
        time.sleep(0.001)
    return ctx.headers_for_downstream()


@app.endpoint("/count")
def count(n: int) -> Iterator[int]:
    for number in range(n):
        yield number
        time.sleep(0.1)
