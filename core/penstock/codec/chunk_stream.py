"""Streams: results that are iterators of chunks, returned by a handler as they are or in a ``Response``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from penstock.codec.encoding import STATUSES_WITHOUT_BODY, ResultEncoder, checked_headers, unencodable
from penstock.errors import HandlerError
from penstock.response import Encoded, Response


class ChunkStream(NamedTuple):
    """A result that is sent in chunks."""

    head: Encoded
    """The response without its body. Its media type is None if each chunk is a JSON value."""
    chunks: Any
    """The iterator, plain or asynchronous."""
    encode: Callable[[Any], bytes]
    """Encodes one chunk, or raises ``HandlerError`` if it cannot be sent."""

    @property
    def is_async(self) -> bool:
        """True if the iterator is asynchronous."""
        return not hasattr(type(self.chunks), "__next__")


def stream_of(value: Any, results: ResultEncoder, *, is_promised: bool) -> ChunkStream | None:
    """Return the stream that a handler has returned, or None if it has returned a single value.

    Parameters
    ----------
    value:
        The value that the handler has returned.
    results:
        The way in which the endpoint's results become bodies.
    is_promised:
        True if the handler is annotated to return an iterator; then any collection is one.

    Raises
    ------
    HandlerError
        If the handler has returned neither the iterator that it promised nor a ``Response``, or if the ``Response``
        around the iterator cannot be sent.
    """
    response = value if isinstance(value, Response) else None
    content = value if response is None else response.content
    kind = type(content)  # not the value, whose own attributes may be anything
    if hasattr(kind, "__next__"):
        chunks = content
    elif hasattr(kind, "__aiter__"):
        chunks = aiter(content)
    elif is_promised and response is None:
        chunks = _iterator_over(content)
    else:
        return None
    if response is None:
        return ChunkStream(Encoded(b"", results.media_type), chunks, results.encode_chunk)
    if response.status in STATUSES_WITHOUT_BODY:
        raise unencodable(f"a response with status {response.status} has no body, so it cannot be a stream")
    media_type = response.media_type or results.media_type
    head = Encoded(b"", media_type, response.status, checked_headers(response))
    return ChunkStream(head, chunks, dataclasses.replace(results, media_type=media_type).encode_chunk)


def _iterator_over(returned: Any) -> Any:
    if not hasattr(returned, "__iter__") or isinstance(returned, (str, bytes, bytearray, Mapping)):
        raise HandlerError(
            f"the handler returned a {type(returned).__name__}, but it is annotated to return an iterator of chunks"
        )
    return iter(returned)
