"""Served by test_bad_input.py: endpoints for invalid input, and one whose results cannot be encoded in JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy

from penstock import App

app = App(__name__)


class Person(msgspec.Struct):
    name: str
    age: int
    tags: list[str] = []


class Opaque:
    pass


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/person")
def person(value: Person) -> int:
    return value.age


@app.endpoint("/raw")
def raw(body: bytes) -> int:
    return len(body)


@app.endpoint("/large")
def large(body: bytes) -> int:
    return len(body)


@app.endpoint("/long")
def long(text: str, count: int) -> int:
    return len(text) * count


@app.endpoint("/fuzzed")
def fuzzed(value: Person) -> list[str]:
    return value.tags


@app.endpoint("/unencodable")
def unencodable(kind: str) -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return {
        "object": {"x": Opaque()},
        "set": {Opaque()},
        "recursion": loop,
        "array": numpy.array([Opaque(), None], dtype=object),
        "complex": 1j,
        "key": {(1, 2): 3},
        "deep": _deep(200_000),
    }[kind]


def _deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value
