"""Ray Serve: ``python ray_app.py``, one replica."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import StreamingResponse

QUIET = LoggingConfig(enable_access_log=False, log_level="ERROR")


class Square:
    """``/square``: JSON in, JSON out."""

    async def __call__(self, request: Request) -> float:
        """Return the square, at next to no cost."""
        body: dict[str, float] = await request.json()
        return body["input"] ** 2


class Size:
    """``/size``: the raw body."""

    async def __call__(self, request: Request) -> int:
        """Return the length of the body."""
        return len(await request.body())


class Count:
    """``/count``: a stream."""

    async def __call__(self, request: Request) -> StreamingResponse:
        """Stream ``n`` chunks."""
        body = await request.json()
        return StreamingResponse(self._chunks(body["n"]), media_type="application/x-ndjson")

    def _chunks(self, n: int) -> Iterator[bytes]:
        for number in range(n):
            yield json.dumps({"token": number}).encode() + b"\n"


class Sleep:
    """``/sleep``: a job that blocks."""

    async def __call__(self, request: Request) -> int:
        """Sleep, and return the ID of the process that did."""
        body = await request.json()
        time.sleep(body["seconds"])  # noqa: ASYNC251 - the job blocks, as a model does
        return os.getpid()


class Loop:
    """``/loop``: a job that computes."""

    async def __call__(self, request: Request) -> int:
        """Keep a core busy in a Python loop."""
        end = time.monotonic() + (await request.json())["seconds"]
        while time.monotonic() < end:
            pass
        return os.getpid()


class Identify:
    """``/identify``: batches of files."""

    def __init__(self) -> None:
        from magika import Magika  # noqa: PLC0415 - other endpoints need no model

        self.magika = Magika()

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.002)
    async def identify(self, files: list[bytes]) -> list[dict[str, str]]:
        """Return the type of each file."""
        return [{"label": str(self.magika.identify_bytes(content).output.label)} for content in files]

    async def __call__(self, request: Request) -> dict[str, str]:
        """Add the file to a batch."""
        found: dict[str, str] = await self.identify(await request.body())
        return found


CLASSES: dict[str, type[Any]] = {
    "square": Square,
    "size": Size,
    "count": Count,
    "sleep": Sleep,
    "loop": Loop,
    "identify": Identify,
}

if __name__ == "__main__":
    endpoint = os.environ["BENCH_ENDPOINT"]
    deadline = os.environ.get("BENCH_DEADLINE")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 1024**2,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    serve.start(
        http_options=HTTPOptions(
            host="127.0.0.1",
            port=int(os.environ["BENCH_PORT"]),
            request_timeout_s=float(deadline) if deadline else None,
        ),
        logging_config=QUIET,
    )
    deployment = serve.deployment(num_replicas=1, max_ongoing_requests=100, logging_config=QUIET)(CLASSES[endpoint])
    serve.run(deployment.bind(), route_prefix=f"/{endpoint}")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
