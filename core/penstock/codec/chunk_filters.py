"""Filters of answers: what a request says about its own answer is done in the worker, to each chunk before it is sent.

A type that is the whole body of an endpoint has a filter if it has a method ``chunk_filter``, which returns a
``ChunkFilter``, or None if this request needs none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

from penstock.codec.chunk_stream import ChunkStream


class ChunkFilter(Protocol):
    """A filter of the answer to one request. It has the state of that answer, and serves no other.

    What it raises fails the job, as if the handler had raised it.
    """

    def feed(self, chunk: Any) -> tuple[list[Any], bool]:
        """Take a chunk as the handler has yielded it; return the chunks to send now, and whether that was all.

        If it was, the handler's generator is closed, so that its ``finally`` blocks run, and the stream has succeeded.
        """

    def finish(self) -> list[Any]:
        """Return the chunks to send after the last one, such as what was held back."""

    def whole(self, result: Any) -> Any:
        """Return what to send for a handler that has returned a single result."""


def filtered(stream: ChunkStream, chunk_filter: ChunkFilter) -> ChunkStream:
    """Return a stream of what the filter makes of the chunks of another one."""
    chunks = _filtered_async if stream.is_async else _filtered
    return stream._replace(chunks=chunks(stream.chunks, chunk_filter))


def _filtered(chunks: Any, chunk_filter: ChunkFilter) -> Iterator[Any]:
    try:
        for chunk in chunks:
            ready, is_done = chunk_filter.feed(chunk)
            yield from ready
            if is_done:
                return
        yield from chunk_filter.finish()
    finally:
        close = getattr(chunks, "close", None)  # an iterator that is not a generator may have none
        if close is not None:
            close()


async def _filtered_async(chunks: Any, chunk_filter: ChunkFilter) -> AsyncIterator[Any]:
    try:
        async for chunk in chunks:
            ready, is_done = chunk_filter.feed(chunk)
            for each in ready:
                yield each
            if is_done:
                return
        for each in chunk_filter.finish():
            yield each
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
