"""BentoML: ``bentoml serve bentoml_app:Service``, one worker, which is the HTTP process, and its one thread."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import bentoml

ENDPOINT = os.environ["BENCH_ENDPOINT"]
TRAFFIC: dict[str, Any] = {}
if "BENCH_DEADLINE" in os.environ:
    TRAFFIC["timeout"] = float(os.environ["BENCH_DEADLINE"])
if "BENCH_QUEUE" in os.environ:
    TRAFFIC["timeout"] = 600.0


@bentoml.service(workers=1, traffic=TRAFFIC, logging={"access": {"enabled": False}})
class Service:
    """All endpoints in one service."""

    def __init__(self) -> None:
        if ENDPOINT == "identify":
            from magika import Magika  # noqa: PLC0415 - other endpoints need no model

            self.magika = Magika()

    @bentoml.api(route="/square")
    def square(self, input: float) -> float:
        """Return the square, at next to no cost."""
        return input**2

    @bentoml.api(route="/size")
    def size(self, body: bytes, /) -> int:
        """Return the length of the body."""
        return len(body)

    @bentoml.api(route="/count")
    def count(self, n: int) -> Iterator[str]:
        """Stream ``n`` chunks."""
        for number in range(n):
            yield json.dumps({"token": number}) + "\n"

    @bentoml.api(route="/sleep")
    def sleep(self, seconds: float) -> int:
        """Sleep, and return the process ID."""
        time.sleep(seconds)
        return os.getpid()

    @bentoml.api(route="/loop")
    def loop(self, seconds: float) -> int:
        """Keep a core busy in a Python loop."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        return os.getpid()

    @bentoml.api(route="/identify", batchable=True, max_batch_size=8)
    def identify(self, files: list[bytes]) -> list[str]:
        """Return the type of each file."""
        return [str(self.magika.identify_bytes(content).output.label) for content in files]
