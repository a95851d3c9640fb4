"""Bare Falcon on gunicorn: no queue, no deadline, no worker process. The bound of what can be reached."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from bare import app
from falcon.asgi import Request, Response

one_thread = ThreadPoolExecutor(1)  # runs one job at a time, as one worker process does


class Size:
    """``/size``, the length of the body."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Read the body and respond with its length."""
        resp.media = len(await req.stream.read())


class Count:
    """``/count``, a stream."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Stream ``n`` chunks."""
        media = await req.get_media()
        resp.content_type = "application/x-ndjson"
        resp.stream = self._chunks(media["n"])

    async def _chunks(self, n: int) -> AsyncIterator[bytes]:
        for number in range(n):
            yield json.dumps({"token": number}).encode() + b"\n"


class Sleep:
    """``/sleep``, a job that blocks its thread."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Sleep in the thread, and respond with the process ID."""
        media = await req.get_media()
        await asyncio.get_running_loop().run_in_executor(one_thread, time.sleep, media["seconds"])
        resp.media = os.getpid()


def busy(seconds: float) -> None:
    """Keep a core busy in a Python loop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


class Loop:
    """``/loop``, a job that computes."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Compute in the thread, and respond with the process ID."""
        media = await req.get_media()
        await asyncio.get_running_loop().run_in_executor(one_thread, busy, media["seconds"])
        resp.media = os.getpid()


class Identify:
    """``/identify``, Magika in the thread. There is no batching."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Respond with the type of the file."""
        body = await req.stream.read()
        found = await asyncio.get_running_loop().run_in_executor(one_thread, magika.identify_bytes, body)
        resp.media = {"label": str(found.output.label)}


app.add_route("/size", Size())
app.add_route("/count", Count())
app.add_route("/sleep", Sleep())
app.add_route("/loop", Loop())
if os.environ["BENCH_ENDPOINT"] == "identify":
    from magika import Magika

    magika = Magika()
    app.add_route("/identify", Identify())
