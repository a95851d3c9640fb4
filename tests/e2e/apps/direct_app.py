"""Endpoints for requests that our server answers without ASGI."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from penstock import App, Context, Response, Timeouts

app = App(__name__)


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/slow")
def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.endpoint("/stream", timeouts=Timeouts(idle=0.5))
def stream(n: int, pause: float = 0.0) -> Any:
    def chunks() -> Iterator[int]:
        for number in range(n):
            time.sleep(pause)
            yield number

    return chunks()


@app.endpoint("/headers")
def headers(ctx: Context) -> dict[str, str]:
    return dict(ctx.headers)


@app.endpoint("/large")
def large(size: int) -> Response:
    return Response(b"x" * size, "application/octet-stream", {"X-Size": str(size)})


@app.endpoint("/empty")
def empty() -> Response:
    return Response(None, status=204)
