"""Served under load: short work, a wait, and a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio

from penstock import App

app = App(__name__)


@app.endpoint("/quick", pool="quick")
def quick() -> int:
    return 1


@app.endpoint("/wait", pool="waiting", concurrency=50)
async def wait() -> int:
    await trio.sleep(0.05)
    return 2


@app.endpoint("/stream", pool="waiting", concurrency=50)
async def stream() -> AsyncIterator[int]:
    for value in range(5):
        yield value
        await trio.sleep(0.02)
