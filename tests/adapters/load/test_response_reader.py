"""HTTP responses from bytes: complete ones, cut ones, and bytes that are none."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_load import MalformedResponseError, ResponseReader

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: 1\r\n\r\n"
)
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


def fed(data: bytes, cuts: list[int]) -> tuple[ResponseReader, int]:
    """Feed a response in pieces; return the reader and the number of chunks."""
    reader, chunks, ends = ResponseReader(), 0, [0, *sorted({cut % len(data) for cut in cuts}), len(data)]
    for start, end in itertools.pairwise(ends):
        chunks += reader.feed(data[start:end])
    return reader, chunks


@pytest.mark.parametrize(
    ("data", "body", "chunks"),
    [(LENGTH, b"hello", 0), (CHUNKED, b"hello world", 2), (CONTINUED, b"hello", 0), (EMPTY, b"", 0)],
    ids=["length", "chunked", "continue", "empty"],
)
@given(cuts=st.lists(st.integers(0, 1000), max_size=20))
def test_a_response_may_arrive_in_any_pieces(data: bytes, body: bytes, chunks: int, cuts: list[int]) -> None:
    """The result does not depend on where the network has cut it."""
    reader, found = fed(data, cuts)
    assert reader.is_complete
    assert reader.is_reusable
    assert (bytes(reader.body), found) == (body, chunks)


@pytest.mark.parametrize("data", [LENGTH, CHUNKED], ids=["length", "chunked"])
def test_no_cut_response_is_complete(data: bytes) -> None:
    """At the end of the connection after any byte but the last, the response is cut."""
    for end in range(len(data)):
        reader = ResponseReader()
        reader.feed(data[:end])
        assert not reader.end()
        assert reader.has_begun == (end > 0)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    """Each piece counts as a chunk, and the connection cannot be used again."""
    reader = ResponseReader()
    assert reader.feed(b"HTTP/1.0 200 OK\r\n\r\nab") == 1
    assert reader.feed(b"cd") == 1
    assert not reader.is_complete
    assert reader.end()
    assert bytes(reader.body) == b"abcd"
    assert not reader.is_reusable


@pytest.mark.parametrize(
    ("head", "is_reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_a_connection_is_used_again_only_if_the_server_keeps_it(head: bytes, is_reusable: bool) -> None:
    """``Connection: close`` and HTTP/1.0 end it."""
    reader = ResponseReader()
    reader.feed(head + b"Content-Length: 0\r\n\r\n")
    assert (reader.is_complete, reader.is_reusable) == (True, is_reusable)


def test_the_response_to_a_head_request_has_no_body() -> None:
    """Its length is that of the body which a GET would have."""
    reader = ResponseReader(is_head=True)
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert reader.is_complete


def test_a_keep_alive_comment_is_not_a_chunk() -> None:
    """A server that only says that it is still there has sent nothing that a caller waits for."""
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert reader.feed(b"e\r\n: keep-alive\n\n\r\n") == 0
    assert reader.feed(b"9\r\ndata: 1\n\n\r\n") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
        LENGTH + b"more",
    ],
    ids=["no HTTP", "no status", "no colon", "no length", "no size", "long chunk", "1 MB header", "more than said"],
)
def test_other_bytes_are_malformed(data: bytes) -> None:
    """A server that does not speak HTTP/1.1 is an error of its own, and memory stays bounded."""
    with pytest.raises(MalformedResponseError):
        ResponseReader().feed(data)


def test_a_negative_length_is_malformed() -> None:
    """It would never be reached."""
    for length in (b"Content-Length: -5\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n-5\r\n"):
        with pytest.raises(MalformedResponseError):
            ResponseReader().feed(b"HTTP/1.1 200 OK\r\n" + length)
