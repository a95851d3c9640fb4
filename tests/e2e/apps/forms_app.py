"""Served by test_forms.py: endpoints with files, forms, variables in paths and queries."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

from penstock import App, Batching, Context, Timeouts, Upload

app = App(__name__)


def facts(file: Upload) -> list[Any]:
    return [file.name, file.media_type, file.size, hashlib.sha256(file.open().read()).hexdigest()]


@app.endpoint("/users/{user_id}/caption")
def caption(user_id: int, picture: Upload, context: Context, words: int = 12) -> Any:
    return {"user": user_id, "picture": facts(picture), "words": words, "query": context.query}


@app.endpoint("/users/{user_id}", method="GET", name="show")
def show(user_id: int, tags: list[str] = [], deep: bool = False) -> Any:  # noqa: B006 - it is copied
    return [user_id, tags, deep]


@app.endpoint("/many")
def many(files: list[Upload], notes: list[str] = []) -> Any:  # noqa: B006 - it is copied
    return [[facts(file) for file in files], notes]


@app.endpoint("/optional")
def optional(name: str, picture: Upload | None = None, agreed: bool = False, size: int = 3) -> Any:
    return [name, picture and picture.name, agreed, size]


@app.endpoint("/batch", batching=Batching(max_size=7, max_wait=2))
def batch(picture: list[Upload], words: list[int] = 3) -> list[Any]:  # type: ignore[assignment] # of one item
    return [[*facts(one)[:3], count, len(picture)] for one, count in zip(picture, words, strict=True)]


@app.endpoint("/count/{n}", method="GET", name="count")
def count(n: int, step: int = 1) -> Iterator[int]:
    yield from range(0, n * step, step)


@app.endpoint("/fragile", pool="fragile")
def fragile(picture: Upload, context: Context) -> Any:
    if context.attempt == 1:
        os._exit(1)
    return [context.attempt, *facts(picture)]


@app.endpoint("/square", timeouts=Timeouts(total=10))
def square(input: float) -> float:
    return input**2


@app.endpoint("/digest")
def digest(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()
