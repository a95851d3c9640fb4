from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from penstock.socket_buffers import ReceiveBuffer

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_bytes_outlive_the_next_read(pair: Pair) -> None:
    """The buffer is used again, but what it returned does not change."""
    ours, theirs = pair
    buffer = ReceiveBuffer()
    theirs.send(b"first")
    first = buffer.receive(ours)
    theirs.send(b"again")
    assert (buffer.receive(ours), first) == (b"again", b"first")


def test_nothing_yet_is_not_the_end(pair: Pair) -> None:
    """None means that nothing has arrived, no bytes that nothing will."""
    ours, theirs = pair
    buffer = ReceiveBuffer()
    assert buffer.receive(ours) is None
    theirs.close()
    assert buffer.receive(ours) == b""


def test_a_reset_is_an_end(pair: Pair) -> None:
    """A connection that was reset, here by a peer that left bytes unread, has ended like any other."""
    ours, theirs = pair
    ours.send(b"never read")
    theirs.close()
    buffer = ReceiveBuffer()
    assert buffer.receive(ours) == b""
