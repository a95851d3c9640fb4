"""Penstock: ``penstock serve penstock_app:app``. The functions share one worker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from penstock import App, Batching, Timeouts

DEADLINE = os.environ.get("BENCH_DEADLINE")  # seconds
OPTIONS: dict[str, Any] = {"max_queue": int(os.environ.get("BENCH_QUEUE", "1000"))}
if DEADLINE:
    OPTIONS["timeouts"] = Timeouts(execution=float(DEADLINE))
if "BENCH_QUEUE" in os.environ:
    OPTIONS["timeouts"] = Timeouts(queue=600)

app = App(__name__)


@app.endpoint("/square")
def square(input: float) -> float:
    """Return the square, at next to no cost."""
    return input**2


@app.endpoint("/size")
def size(body: bytes) -> int:
    """Return the length of the body."""
    return len(body)


@app.endpoint("/count")
def count(n: int) -> Iterator[dict[str, int]]:
    """Stream ``n`` chunks as fast as possible."""
    for number in range(n):
        yield {"token": number}


@app.endpoint("/sleep", **OPTIONS)
def sleep(seconds: float) -> int:
    """Sleep, and return the ID of the process that did."""
    time.sleep(seconds)
    return os.getpid()


@app.endpoint("/loop")
def loop(seconds: float) -> int:
    """Keep a core busy in a Python loop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return os.getpid()


if os.environ.get("BENCH_ENDPOINT") == "v1/chat/completions":
    from penstock_chat import ChatRequest
    from penstock_openai import Chat

    @app.endpoint("/chat", dialects=[Chat(model="tiny")])
    def chat(request: ChatRequest) -> Iterator[str]:
        """Answer with as many tokens as the message says."""
        for _ in range(int(request.messages[0].text)):
            yield "tok "


if os.environ.get("BENCH_ENDPOINT", "").startswith("v2/models"):
    from typing import Annotated

    import numpy as np

    from penstock import Tensor
    from penstock_oip import Infer

    Vector = Annotated[np.ndarray, Tensor("FP32", [-1])]

    @app.endpoint("/iris", dialects=[Infer(name="iris")])
    def iris(x: Annotated[np.ndarray, Tensor("FP32", [-1, 4])]) -> Annotated[np.ndarray, Tensor("INT64", [-1])]:
        """Return the place of the largest measure of each flower."""
        return x.argmax(axis=1)

    @app.endpoint("/same", dialects=[Infer(name="same")])
    def same(x: Vector) -> Vector:
        """Return the tensor."""
        return x

    @app.endpoint("/bytes")
    def same_bytes(body: bytes) -> bytes:
        """Return the body."""
        return body


if os.environ.get("BENCH_ENDPOINT") == "identify":

    @app.endpoint("/identify", batching=Batching(max_size=8, max_wait=0.002))
    class Identify:
        """Batches of files."""

        def setup(self) -> None:
            """Load the model."""
            from magika import Magika  # noqa: PLC0415 - other endpoints need no model

            self.magika = Magika()

        def predict(self, files: list[bytes]) -> list[dict[str, str]]:
            """Return the type of each file."""
            return [{"label": str(self.magika.identify_bytes(content).output.label)} for content in files]
