"""A program as users write it. It is never run: mypy --strict must accept it and infer the asserted types."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, assert_type

import msgspec

from penstock import (
    App,
    Backoff,
    Batching,
    Context,
    Done,
    Event,
    PenstockError,
    Recycle,
    Response,
    Retries,
    Retryable,
    RetryBudget,
    Timeouts,
    Upload,
)

app = App(__name__, title="Typed", version="1.0")


class Image(msgspec.Struct):
    pixels: list[float]
    scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0


@dataclass
class Label:
    name: str
    score: float


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/count", timeouts=Timeouts(first_chunk=1, idle=5))
def count(n: int, delay: float = 0.0) -> Iterator[dict[str, int]]:
    for token in range(n):
        yield {"token": token}


@app.endpoint("/words")
def words(text: str) -> Iterator[Event[str] | str]:
    for place, word in enumerate(text.split()):
        event = Event(word, event="word", id=place)
        assert_type(event, Event[str])
        assert_type(event.data, str)
        assert_type(event.id, str | None)
        yield event
    yield "."


@app.endpoint("/fetch", concurrency=100, runtime="asyncio", idempotent=False)
async def fetch(url: str, context: Context) -> str:
    context.check()
    return f"{url} for {context.principal}, {context.remaining():.1f} s left"


@app.endpoint("/tokens", concurrency=8)
async def tokens(prompt: str, *, context: Context | None = None) -> AsyncIterator[str]:
    yield prompt


app.pool("images", workers=2, devices=["cpu"], recycle=Recycle(attempts=10_000, memory="4GiB"), spares=1)


@app.endpoint("/thumbnail", pool="images")
def thumbnail(image: bytes) -> Response:
    return Response(image[:100], media_type="image/png", headers={"Cache-Control": "no-store"})


@app.endpoint("/lookup", idempotent=False, retries=Retries(on=ConnectionError, backoff=None, budget=None))
def lookup(key: str, context: Context) -> str:
    if context.attempt == 1:
        raise Retryable("not there yet", delay=0.5)
    return key


@app.endpoint("/embed", batching=Batching(max_size=8))
async def embed(texts: list[str]) -> list[list[float]]:
    return [[float(len(text))] for text in texts]


@app.endpoint(
    "/classify",
    name="classify",
    workers=2,
    devices=["cuda:0", "cuda:1"],
    batching=Batching(max_size=32, max_wait=0.005),
    timeouts=Timeouts(queue=2, execution=10),
    retries=Retries(
        max_attempts=3,
        on=(ConnectionError, KeyError),
        backoff=Backoff(base=0.5, factor=3, cap=20),
        budget=RetryBudget(ratio=0.1, floor=5),
    ),
    max_queue=64,
)
class Classify:
    def __init__(self) -> None:
        self.device = "cpu"

    def setup(self, device: str) -> None:
        self.device = device

    def predict(self, batch: list[Image]) -> list[Label | Exception]:
        return [Label(self.device, image.scale) for image in batch]

    def teardown(self) -> None:
        self.device = ""


@app.endpoint("/chat", max_slots=16)
class Llm:
    def setup(self) -> None:
        self.prompts: dict[int, str] = {}

    def admit(self, slot: int, prompt: str, max_tokens: int = 64) -> None:
        self.prompts[slot] = prompt[:max_tokens]

    def step(self, slots: list[int]) -> dict[int, str | Done]:
        return {slot: Done(self.prompts[slot]) for slot in slots}

    def release(self, slot: int) -> None:
        del self.prompts[slot]


@app.endpoint("/users/{user_id}", method="GET")
def show(user_id: int, tags: list[str], context: Context) -> str:
    return context.query


@app.endpoint("/users/{user_id}/caption")
def caption(user_id: int, picture: Upload, others: list[Upload], words: int = 12) -> str:
    with picture.open() as file:
        file.read(picture.size)
    return picture.name + picture.media_type + picture.content.decode()


def main() -> None:
    """The decorator returns the handler with its type."""
    assert_type(square(2.0), float)
    assert_type(next(count(3)), dict[str, int])
    assert_type(thumbnail(b""), Response)
    assert_type(Classify().predict([Image([1.0])]), list[Label | Exception])
    assert_type(Classify().device, str)
    for endpoint in app.endpoints:
        assert_type(endpoint.name, str)
        assert_type(endpoint.method, Literal["POST", "GET"])
        try:
            endpoint.codec.validate(b"{}")
        except PenstockError as error:
            assert_type(error.status, int)
    assert_type([pool.workers for pool in app.pools.values()], list[int])


async def use() -> None:
    """Coroutines stay coroutines, and streams stay streams."""
    assert_type(await fetch("http://localhost", Context()), str)
    async for token in tokens("hello"):
        assert_type(token, str)
