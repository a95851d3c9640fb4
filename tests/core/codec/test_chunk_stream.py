"""Which results are streams, and how their responses begin."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from penstock.app import App
from penstock.codec.chunk_stream import ChunkStream
from penstock.errors import HandlerError
from penstock.response import Encoded, Response
from tests.core.codec.sample_types import codec, square


def numbers() -> Iterator[int]:
    yield from (1, 2)


async def later() -> AsyncIterator[int]:
    yield 1


class Feed:
    """Asynchronous, but only through the iterator that it makes, as the streams of some clients are."""

    def __aiter__(self) -> AsyncIterator[int]:
        return later()


def declared(n: int) -> Iterator[int]: ...


def stream_of(value: Any, function: Callable[..., Any] = square) -> ChunkStream:
    stream = codec(function).stream_of(value)
    assert stream is not None
    return stream


@pytest.mark.parametrize("chunks", [numbers(), iter([1, 2]), map(int, "12"), zip([1], [2], strict=True)])
def test_an_iterator_is_a_stream(chunks: Any) -> None:
    """Whatever its type: it has no other form, and each of its items is a chunk."""
    stream = stream_of(chunks)
    assert (stream.head, stream.chunks, stream.is_async) == (Encoded(b""), chunks, False)
    assert stream.encode({"a": 1}) == b'{"a":1}'


@pytest.mark.parametrize("chunks", [later(), Feed()])
def test_an_asynchronous_iterator_is_a_stream(chunks: Any) -> None:
    """It says so, because only a loop can iterate over it."""
    stream = stream_of(chunks)
    assert stream.is_async
    assert hasattr(stream.chunks, "__anext__")


@pytest.mark.parametrize("value", [[1, 2], (1,), {"a": 1}, "text", b"bytes", {1}, range(2), None, 1.0, object()])
def test_a_collection_is_one_result(value: Any) -> None:
    """Only an iterator is a stream, unless the handler is annotated to return one."""
    assert codec(square).stream_of(value) is None
    assert codec(square).stream_of(Response(value)) is None


def test_a_collection_may_be_promised_as_a_stream() -> None:
    """A handler annotated to return an iterator may return a list of its chunks; text or a mapping is a mistake."""
    assert list(stream_of([1, 2], declared).chunks) == [1, 2]
    for value in ("text", b"bytes", {"a": 1}, 5, None):
        with pytest.raises(HandlerError, match=f"returned a {type(value).__name__}, but it is annotated to return an"):
            codec(declared).stream_of(value)


def test_a_response_may_stand_in_for_the_promised_stream() -> None:
    """So a handler that streams can refuse a request with a document and a status of its own."""
    assert codec(declared).stream_of(Response({"error": "none left"}, status=410)) is None


def test_a_response_sets_the_head_of_its_stream() -> None:
    """Media type, status and headers; its chunks are then bytes or text as they are."""
    stream = stream_of(Response(numbers(), "text/csv", {"X-A": "b"}, 206))
    assert stream.head == Encoded(b"", "text/csv", 206, {"X-A": "b"})
    assert (stream.encode("1,2\n"), stream.encode(b"\xff")) == (b"1,2\n", b"\xff")
    with pytest.raises(HandlerError, match=r"int, but the media type is text/csv: .* yield bytes or str"):
        stream.encode(1)
    assert stream_of(Response(numbers())).encode(1) == b"1"


def test_the_media_type_of_the_endpoint_holds_unless_a_response_has_its_own() -> None:
    """As for a single result."""
    app = App("tests")
    app.endpoint("/speech", media_type="audio/wav")(square)
    its = app.endpoints[0].codec
    assert [its.stream_of(value).head.media_type for value in (numbers(), Response(numbers(), "audio/ogg"))] == [  # type: ignore[union-attr] # both are streams
        "audio/wav",
        "audio/ogg",
    ]


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (Response(numbers(), status=204), "status 204 has no body"),
        (Response(numbers(), "text/csv\r\nX: y"), "Content-Type"),
        (Response(numbers(), headers={"X A": "b"}), "X A"),
    ],
)
def test_a_head_that_cannot_be_sent_is_an_error(response: Response, words: str) -> None:
    """It is refused before the response begins."""
    with pytest.raises(HandlerError, match=words):
        codec(square).stream_of(response)


def test_the_lines_of_a_file_can_be_streamed() -> None:
    """A file is an iterator over its lines."""
    stream = stream_of(Response(io.BytesIO(b"a\nb"), "text/plain"))
    assert [stream.encode(chunk) for chunk in stream.chunks] == [b"a\n", b"b"]
