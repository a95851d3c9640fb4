"""Mosec: ``python mosec_app.py --port PORT``, one worker process."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from mosec import Server, SSEWorker, Worker


class Square(Worker):
    """``/square``: JSON in, JSON out."""

    def forward(self, data: dict[str, float]) -> float:
        """Return the square, at next to no cost."""
        return data["input"] ** 2


class Size(Worker):
    """``/size``: the body is not decoded."""

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it is, a bytearray."""
        return data

    def forward(self, data: bytes) -> int:
        """Return the length of the body."""
        return len(data)


class Count(SSEWorker):
    """``/count``: server-sent events."""

    def forward(self, data: dict[str, int]) -> None:
        """Stream ``n`` chunks."""
        for number in range(data["n"]):
            self.send_stream_event(json.dumps({"token": number}))


class Sleep(Worker):
    """``/sleep``: a job that blocks."""

    def forward(self, data: dict[str, float]) -> int:
        """Sleep, and return the ID of the process that did."""
        time.sleep(data["seconds"])
        return os.getpid()


class Loop(Worker):
    """``/loop``: a job that computes."""

    def forward(self, data: dict[str, float]) -> int:
        """Keep a core busy in a Python loop."""
        end = time.monotonic() + data["seconds"]
        while time.monotonic() < end:
            pass
        return os.getpid()


class Identify(Size):
    """``/identify``: batches of files."""

    def __init__(self) -> None:
        from magika import Magika  # noqa: PLC0415 - other endpoints need no model

        self.magika = Magika()

    def forward(self, data: list[bytes]) -> list[dict[str, str]]:
        """Return the type of each file."""
        return [{"label": str(self.magika.identify_bytes(bytes(content)).output.label)} for content in data]


WORKERS: dict[str, type[Worker]] = {
    "square": Square,
    "size": Size,
    "count": Count,
    "sleep": Sleep,
    "loop": Loop,
    "identify": Identify,
}

if __name__ == "__main__":
    endpoint = os.environ["BENCH_ENDPOINT"]
    batching: dict[str, Any] = {"max_batch_size": 8, "max_wait_time": 2} if endpoint == "identify" else {}
    server = Server()
    server.append_worker(WORKERS[endpoint], num=1, route=f"/{endpoint}", **batching)
    server.run()
