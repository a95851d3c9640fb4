"""LitServe: ``python litserve_app.py``, one worker process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import litserve as ls


class Square(ls.LitAPI):
    """``/square``: JSON in, JSON out."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def predict(self, request: dict[str, float]) -> float:
        """Return the square, at next to no cost."""
        return request["input"] ** 2


class Size(Square):
    """``/size``: the body is a file of a form, the way in which LitServe takes bytes."""

    def decode_request(self, request) -> bytes:  # noqa: ANN001 - an annotation would make FastAPI parse the body as that type
        """Read the file."""
        content: bytes = request["content"].file.read()
        return content

    def predict(self, content: bytes) -> int:
        """Return the length of the file."""
        return len(content)


class Count(Square):
    """``/count``: a stream."""

    def predict(self, request: dict[str, int]) -> Iterator[int]:
        """Stream ``n`` chunks."""
        yield from range(request["n"])

    def encode_response(self, output: Iterator[int]) -> Iterator[dict[str, int]]:
        """Encode each chunk."""
        for number in output:
            yield {"token": number}


class Sleep(Square):
    """``/sleep``: a job that blocks."""

    def predict(self, request: dict[str, float]) -> int:
        """Sleep, and return the ID of the process that did."""
        time.sleep(request["seconds"])
        return os.getpid()


class Loop(Square):
    """``/loop``: a job that computes."""

    def predict(self, request: dict[str, float]) -> int:
        """Keep a core busy in a Python loop."""
        end = time.monotonic() + request["seconds"]
        while time.monotonic() < end:
            pass
        return os.getpid()


class Chat(Square):
    """``/v1/chat/completions``: OpenAI's protocol."""

    def predict(self, request: Any) -> Iterator[str]:
        """Answer with as many tokens as the message says."""
        for _ in range(int(request.messages[0].content)):
            yield "tok "


class Iris(Square):
    """``/v2/models/iris/infer``: the Open Inference Protocol, written by hand."""

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the place of the largest measure of each flower."""
        import numpy as np  # noqa: PLC0415 - other endpoints need no arrays

        [given] = request["inputs"]
        places = np.array(given["data"], dtype="float32").reshape(given["shape"]).argmax(axis=1)
        output = {"name": "output", "shape": list(places.shape), "datatype": "INT64", "data": places.tolist()}
        return {"model_name": "iris", "outputs": [output]}


class Identify(Size):
    """``/identify``: batches of files."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe passes it
        """Load the model."""
        from magika import Magika  # noqa: PLC0415 - other endpoints need no model

        self.magika = Magika()

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Leave the batch as it is."""
        return inputs

    def predict(self, batch: list[bytes]) -> list[dict[str, str]]:
        """Return the type of each file."""
        return [{"label": str(self.magika.identify_bytes(content).output.label)} for content in batch]

    def unbatch(self, output: list[dict[str, str]]) -> list[dict[str, str]]:
        """Leave the results as they are."""
        return output


APIS: dict[str, type[ls.LitAPI]] = {
    "square": Square,
    "size": Size,
    "count": Count,
    "sleep": Sleep,
    "loop": Loop,
    "identify": Identify,
    "v1/chat/completions": Chat,
    "v2/models/iris/infer": Iris,
}

if __name__ == "__main__":
    endpoint = os.environ["BENCH_ENDPOINT"]
    options: dict[str, Any] = {"stream": True} if endpoint == "count" else {}
    if endpoint == "identify":
        options = {"max_batch_size": 8, "batch_timeout": 0.002}
    if endpoint == "v1/chat/completions":
        options = {"spec": ls.OpenAISpec()}
    timeout = 600 if "BENCH_QUEUE" in os.environ else float(os.environ.get("BENCH_DEADLINE", "30"))
    server = ls.LitServer(
        APIS[endpoint](api_path=f"/{endpoint}", **options),
        accelerator="cpu",
        workers_per_device=1,
        timeout=timeout,
        fast_queue=True,
        restart_workers=True,
    )
    port = int(os.environ["BENCH_PORT"])
    server.run(host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", generate_client_file=False)
