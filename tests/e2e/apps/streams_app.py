"""Handlers that return iterators, and streams with a media type of their own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from penstock import App, Event, Response, Timeouts

app = App(__name__)
CHUNKS = [{"n": 0}, {"n": 1}, {"n": 2}]


class Llm:
    """A library that returns what it generates."""

    def generate(self, n: int) -> Iterator[Any]:
        yield from CHUNKS[:n]

    async def agenerate(self, n: int) -> AsyncIterator[Any]:
        for chunk in CHUNKS[:n]:
            yield chunk


class Plain:
    """An iterator that is not a generator, and cannot be closed."""

    def __init__(self, n: int) -> None:
        self._rest = CHUNKS[:n]

    def __iter__(self) -> Plain:
        return self

    def __next__(self) -> Any:
        if not self._rest:
            raise StopIteration
        return self._rest.pop(0)


@app.endpoint("/inline", pool="inline")
class Inline:
    def setup(self) -> None:
        self.llm = Llm()

    def predict(self, n: int) -> Iterator[Any]:
        return self.llm.generate(n)


@app.endpoint("/plain", pool="inline")
def plain(n: int) -> Iterator[Any]:
    return Plain(n)


@app.endpoint("/thread", pool="others", concurrency=2)
def thread(n: int) -> Iterator[Any]:
    return Llm().generate(n)


@app.endpoint("/task", pool="others", concurrency=2)
async def task(n: int) -> AsyncIterator[Any]:
    return Llm().agenerate(n)


@app.endpoint("/task-of-def", pool="others")
def task_of_def(n: int) -> AsyncIterator[Any]:
    return Llm().agenerate(n)


@app.endpoint("/task-plain", pool="others")
async def task_plain(n: int) -> Iterator[Any]:
    return Plain(n)


@app.endpoint("/not-iterator", pool="inline")
def not_iterator(n: int) -> Iterator[Any]:
    return "text"  # type: ignore[return-value] # wrong on purpose


@app.endpoint("/no-loop", pool="inline")
def no_loop(n: int) -> Any:
    return Llm().agenerate(n)


@app.endpoint("/undeclared", pool="inline")
def undeclared(n: int) -> Any:
    return Llm().generate(n) if n else "nothing"


@app.endpoint("/undeclared-thread", pool="others", concurrency=2)
def undeclared_thread(n: int) -> Any:
    return Llm().generate(n) if n else "nothing"


@app.endpoint("/undeclared-task", pool="others")
async def undeclared_task(n: int) -> Any:
    return Plain(n) if n else "nothing"


@app.endpoint("/undeclared-async", pool="others")
async def undeclared_async(n: int) -> Any:
    return Llm().agenerate(n) if n else "nothing"


@app.endpoint("/download", pool="inline")
def download(rows: int, media_type: str | None = "text/csv") -> Response:
    lines = (f"{row}\n" for row in range(rows)) if rows else iter([{"not": "text"}])
    return Response(lines, media_type, {"X-Rows": str(rows)}, 201)


@app.endpoint("/silent", pool="inline", timeouts=Timeouts(first_chunk=0.2, idle=0.2))
def silent(chunks: int) -> Any:
    def sleepy() -> Iterator[int]:
        yield from range(chunks)
        time.sleep(10.0)

    return sleepy()


@app.endpoint("/speech", pool="inline", media_type="audio/wav")
def speech(parts: int) -> Iterator[bytes]:
    for part in range(parts):
        yield b"" if part == 1 else bytes([0, part, 255])


@app.endpoint("/csv", pool="others", media_type="text/csv; charset=utf-8")
async def csv(rows: int) -> AsyncIterator[str]:
    for row in range(rows):
        yield f"{row},é\u2028\n"


@app.endpoint("/breaks", pool="inline", media_type="text/plain")
def breaks() -> Iterator[str]:
    yield "one"
    raise ValueError("broken")


@app.endpoint("/wrong-chunk", pool="inline", media_type="text/plain")
def wrong_chunk() -> Iterator[Any]:
    yield {"n": 1}


@app.endpoint("/picture", pool="inline", media_type="image/svg+xml")
def picture() -> str:
    return "<svg/>"


def events_of(n: int) -> Iterator[Event[dict[str, int]] | str]:
    for place, chunk in enumerate(CHUNKS[:n]):
        yield Event(chunk, event="count", id=place)
    yield "plain"


@app.endpoint("/events", pool="inline")
def events(n: int) -> Iterator[Event[dict[str, int]] | str]:
    return events_of(n)


@app.endpoint("/events-thread", pool="others", concurrency=2)
def events_thread(n: int) -> Iterator[Event[dict[str, int]] | str]:
    yield from events_of(n)


@app.endpoint("/events-task", pool="others")
async def events_task(n: int) -> AsyncIterator[Event[dict[str, int]] | str]:
    for event in events_of(n):
        yield event


@app.endpoint("/events-asyncio", pool="asyncio", runtime="asyncio")
async def events_asyncio(n: int) -> AsyncIterator[Event[dict[str, int]] | str]:
    for event in events_of(n):
        yield event


@app.endpoint("/forged-event", pool="inline")
def forged_event(name: str) -> Iterator[Event[int]]:
    yield Event(1)
    yield Event(2, event=name)


@app.endpoint("/speech-asyncio", pool="asyncio", media_type="audio/wav")
async def speech_asyncio(parts: int) -> AsyncIterator[bytes]:
    for part in range(parts):
        yield b"" if part == 1 else bytes([0, part, 255])


@app.endpoint("/speech-thread", pool="others", concurrency=2, media_type="audio/wav")
def speech_thread(parts: int) -> Iterator[bytes]:
    for part in range(parts):
        yield b"" if part == 1 else bytes([0, part, 255])


@app.endpoint("/speech-task", pool="others", media_type="audio/wav")
async def speech_task(parts: int) -> AsyncIterator[bytes]:
    for part in range(parts):
        yield b"" if part == 1 else bytes([0, part, 255])
