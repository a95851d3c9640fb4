"""Endpoints behind a dialect: the body chooses endpoint and stream; a costly format is decoded in the worker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from penstock import App
from penstock.errors import InvalidRequest
from penstock.hooks import (
    Dialect,
    DialectRequest,
    Operation,
    Payload,
    PublicError,
    RouteResponse,
    decoded_by,
)
from penstock.response import Encoded


def numbers_of(body: bytes) -> bytes:
    """Decode numbers between commas. Runs in the worker: the endpoint returns the process that has done it."""
    if body == b"nonsense":
        raise InvalidRequest("that is nonsense")
    return msgspec.json.encode({"numbers": [float(part) for part in body.split(b",")], "decoded_in": os.getpid()})


def read(request: DialectRequest) -> Payload:
    asked = msgspec.json.decode(request.body)
    body = msgspec.json.encode(asked["input"])
    return Payload(endpoint=asked["model"], body=body, is_streamed=asked.get("stream"), timeout=asked.get("timeout"))


def read_numbers(_request: DialectRequest) -> Payload:
    return Payload(endpoint="add", input_form=decoded_by(numbers_of))


def result(answer: Encoded, _payload: Payload) -> RouteResponse:
    return RouteResponse(body=b"[" + answer.body + b"]")


def collected(chunks: list[bytes], _payload: Payload) -> RouteResponse:
    return RouteResponse(body=b"[" + b",".join(chunks) + b"]")


def error(error: PublicError) -> RouteResponse:
    return RouteResponse.json({"fault": error.code}, status=error.status)


class Lines:
    """Chunks on lines of their own, and a mark at the end."""

    media_type = "text/lines"
    keep_alive = b""
    end = b"END\n"
    is_piecewise = True

    def frame(self, chunks: Sequence[bytes]) -> bytes:
        return b"".join(chunk + b"\n" for chunk in chunks)

    def error(self, error: PublicError) -> bytes:
        return b"FAULT " + error.code.encode() + b"\n"


TALK = Dialect(
    name="talk",
    operations=(
        Operation(path="/v1/answers", read=read),
        Operation(path="/v1/numbers", read=read_numbers, choose=lambda _request: "add", reads_body=False),
    ),
    result=result,
    collected=collected,
    error=error,
    framing=lambda _head, _payload: Lines(),
)

app = App(__name__)


@app.endpoint("/square", dialects=[TALK])
def square(input: float) -> float:
    return input**2


@app.endpoint("/count", dialects=[TALK])
def count(n: int, pause: float = 0.0, fails: bool = False) -> Iterator[int]:
    for number in range(n):
        time.sleep(pause)
        yield number
    if fails:
        raise ValueError("at the end")


@app.endpoint("/add", dialects=[TALK], workers=1)
def add(numbers: list[float], decoded_in: int) -> dict[str, Any]:
    return {"sum": sum(numbers), "is_decoded_here": decoded_in == os.getpid()}
