"""FastAPI: ``uvicorn fastapi_app:app``, one process. Blocking functions run in its threads, one job at a time."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI()
one_at_a_time = threading.Lock()  # for a model that serves one caller at a time, as one worker process does


@app.post("/square")
async def square(input: Annotated[float, Body(embed=True)]) -> float:
    """Return the square, at next to no cost."""
    return input**2


@app.post("/size")
async def size(request: Request) -> int:
    """Return the length of the body."""
    return len(await request.body())


@app.post("/count")
def count(n: Annotated[int, Body(embed=True)]) -> StreamingResponse:
    """Stream ``n`` chunks."""
    return StreamingResponse(chunks(n), media_type="application/x-ndjson")


def chunks(n: int) -> Iterator[bytes]:
    """Yield the lines of the stream."""
    for number in range(n):
        yield json.dumps({"token": number}).encode() + b"\n"


@app.post("/v1/chat/completions")
def chat(messages: Annotated[list[dict[str, str]], Body()], model: Annotated[str, Body()]) -> StreamingResponse:
    """Answer with as many tokens as the message says, as events of OpenAI's protocol."""
    return StreamingResponse(events(int(messages[0]["content"]), model), media_type="text/event-stream")


def events(n: int, model: str) -> Iterator[str]:
    """Yield the events of an answer."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
    for text in ["tok "] * n:
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
    yield f"data: {json.dumps({**head, 'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})}\n\n"
    yield "data: [DONE]\n\n"


@app.post("/v2/models/iris/infer")
async def infer(inputs: Annotated[list[dict[str, Any]], Body(embed=True)]) -> dict[str, Any]:
    """Return the place of the largest measure of each flower, in the Open Inference Protocol."""
    import numpy as np  # noqa: PLC0415 - other endpoints need no arrays

    [given] = inputs
    places = np.array(given["data"], dtype="float32").reshape(given["shape"]).argmax(axis=1)
    output = {"name": "output", "shape": list(places.shape), "datatype": "INT64", "data": places.tolist()}
    return {"model_name": "iris", "outputs": [output]}


@app.post("/sleep")
def sleep(seconds: Annotated[float, Body(embed=True)]) -> int:
    """Sleep, and return the process ID."""
    with one_at_a_time:
        time.sleep(seconds)
    return os.getpid()


@app.post("/loop")
def loop(seconds: Annotated[float, Body(embed=True)]) -> int:
    """Keep a core busy in a Python loop."""
    with one_at_a_time:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
    return os.getpid()


if os.environ["BENCH_ENDPOINT"] == "identify":
    from magika import Magika

    magika = Magika()

    @app.post("/identify")
    def identify(body: Annotated[bytes, Body(media_type="application/octet-stream")]) -> dict[str, str]:
        """Return the type of the file. There is no batching."""
        with one_at_a_time:
            return {"label": str(magika.identify_bytes(body).output.label)}
