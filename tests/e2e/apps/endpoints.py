"""Endpoints of every kind."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import numpy
import pydantic
import trio

from penstock import App, Batching, Context, Response
from penstock.errors import InvalidRequest, RateLimited
from tests.e2e.apps.marks import mark, wait_for_marks

app = App(__name__)


# ---- functions


@app.endpoint("/power")
def power(base: float, exponent: int = 2) -> float:
    return base**exponent


@app.endpoint("/count")
def count(n: int) -> Iterator[dict[str, int]]:
    for i in range(n):
        yield {"token": i}


@app.endpoint("/count-marked")
def count_marked(names: list[str]) -> Iterator[str]:
    """Yield a chunk for each name, each one only after the client has confirmed the one before."""
    for name in names:
        yield name
        wait_for_marks(name)


@app.endpoint("/async-power")
async def async_power(base: float) -> float:
    await trio.lowlevel.checkpoint()
    return base**2


@app.endpoint("/async-count")
async def async_count(n: int) -> AsyncIterator[dict[str, int]]:
    for i in range(n):
        await trio.lowlevel.checkpoint()
        yield {"token": i}


@app.endpoint("/reverse")
def reverse(body: bytes) -> bytes:
    return body[::-1]


@app.endpoint("/raises")
def raises(text: str, kind: str) -> None:
    if kind == "RateLimited":
        raise RateLimited("come back tomorrow", retry_after=86_400)
    raise InvalidRequest("too many", param="features")


@app.endpoint("/teapot")
def teapot() -> Response:
    return Response("short and stout", media_type="text/x-tea", headers={"X-Spout": "left"}, status=418)


# ---- bodies that are one object


class Point(msgspec.Struct):
    x: float
    y: float = 0.0


@dataclass
class Segment:
    length: float
    name: str = "unnamed"


class Movie(TypedDict):
    title: str
    year: int


class Order(pydantic.BaseModel):
    item: str
    amount: int = pydantic.Field(gt=0)


@app.endpoint("/struct")
def struct(point: Point) -> Point:
    return Point(point.y, point.x)


@app.endpoint("/dataclass")
def dataclass_(segment: Segment) -> Segment:
    return Segment(segment.length * 2, segment.name)


@app.endpoint("/typed-dict")
def typed_dict(movie: Movie) -> Movie:
    return {"title": movie["title"].upper(), "year": movie["year"]}


@app.endpoint("/pydantic")
def pydantic_(order: Order) -> Order:
    return order.model_copy(update={"amount": order.amount + 1})


# ---- numpy


@app.endpoint("/numpy")
def numpy_results(n: int) -> dict[str, Any]:
    row = numpy.arange(n, dtype=numpy.float32)
    return {"sum": row.sum(), "rows": numpy.stack([row, row]), "any": numpy.bool_(n > 0), "count": numpy.int64(n)}


@app.endpoint("/numpy-array")
def numpy_array(n: int) -> Any:
    return numpy.arange(n)


# ---- classes


@app.endpoint("/shout")
class Shout:
    def setup(self) -> None:
        self.suffix = "!"
        self.calls = 0

    def predict(self, text: str) -> dict[str, Any]:
        self.calls += 1
        return {"text": text.upper() + self.suffix, "calls": self.calls}


@app.endpoint("/batched", workers=1, batching=Batching(max_size=4, max_wait=20.0))
class Batched:
    def predict(self, batch: list[int]) -> list[dict[str, int]]:
        return [{"square": number**2, "size": len(batch)} for number in batch]


@app.endpoint("/device", devices=["cpu:0", "cpu:1"])
class Device:
    def setup(self, device: str) -> None:
        self.device = device

    def predict(self, group: str) -> dict[str, Any]:
        mark(f"{group}-{os.getpid()}")
        wait_for_marks(f"{group}-*", count=2)  # so that neither worker can answer both requests
        return {"device": self.device, "pid": os.getpid()}


# ---- pools


@app.endpoint("/first-pid", pool="shared")
def first_pid() -> int:
    return os.getpid()


@app.endpoint("/second-pid", pool="shared")
class SecondPid:
    async def predict(self) -> int:
        return os.getpid()


# ---- the context of a handler


@app.endpoint("/context")
def context(ctx: Context, extra: int = 0) -> dict[str, Any]:
    return {
        "job_id": ctx.job_id,
        "request_id": ctx.request_id,
        "attempt": ctx.attempt,
        "color": ctx.headers["x-color"],
        "remaining": ctx.remaining(),
        "cancelled": ctx.cancelled,
        "extra": extra,
    }


@app.endpoint("/second-try", workers=1)
def second_try(ctx: Context) -> int:
    if ctx.attempt == 1:
        os._exit(1)
    return ctx.attempt


# ---- loops


@app.endpoint("/asyncio", runtime="asyncio")
async def on_asyncio() -> str:
    await asyncio.sleep(0)
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@app.endpoint("/asyncio-on-trio")
async def asyncio_on_trio() -> None:
    await asyncio.sleep(0.01)


# ---- concurrent jobs: each returns when it began and when it ended


class Span(msgspec.Struct):
    began: float
    ended: float
    pid: int


def nap(seconds: float) -> Span:
    began = time.monotonic()
    time.sleep(seconds)
    return Span(began, time.monotonic(), os.getpid())


@app.endpoint("/nap-threads", workers=1, concurrency=2)
def nap_threads(seconds: float) -> Span:
    return nap(seconds)


@app.endpoint("/nap-tasks", workers=1, concurrency=2)
async def nap_tasks(seconds: float) -> Span:
    began = time.monotonic()
    await trio.sleep(seconds)
    return Span(began, time.monotonic(), os.getpid())


@app.endpoint("/nap-asyncio", workers=1, concurrency=2, runtime="asyncio")
class NapAsyncio:
    async def predict(self, seconds: float) -> Span:
        began = time.monotonic()
        await asyncio.sleep(seconds)
        return Span(began, time.monotonic(), os.getpid())


@app.endpoint("/nap-workers", workers=2)
def nap_workers(seconds: float) -> Span:
    return nap(seconds)
