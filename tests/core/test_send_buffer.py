from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from penstock.socket_buffers import SendBuffer

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def transfer(buffer: SendBuffer, pair: Pair) -> tuple[bytes, int]:
    """Write everything while the other end reads; return what has arrived, and the number of writes."""
    ours, theirs = pair
    arrived, flushes = b"", 0
    is_flushed = False
    while not is_flushed:
        is_flushed = buffer.flush(ours)
        flushes += 1
        arrived += theirs.recv(1 << 22)
    return arrived, flushes


@pytest.mark.parametrize("sizes", [[0], [5], [5, 3 << 20, 7], [1 << 20] * 3, [3] * 3000])
def test_frames_of_any_size_leave_in_order(pair: Pair, sizes: list[int]) -> None:
    """However the socket divides them, every byte arrives once."""
    frames = [bytes([65 + number % 26]) * size for number, size in enumerate(sizes)]
    buffer = SendBuffer()
    buffer.frames += frames
    arrived, _ = transfer(buffer, pair) if any(sizes) else (b"", buffer.flush(pair[0]))
    assert arrived == b"".join(frames)
    assert buffer.is_empty


def test_a_partial_write_copies_nothing(pair: Pair) -> None:
    """The part that the socket does not accept is kept as a view of the frame itself."""
    frame = bytes(4 << 20)
    buffer = SendBuffer()
    buffer.frames += [b"head", frame]
    assert not buffer.flush(pair[0])
    (rest,) = buffer.frames
    assert isinstance(rest, memoryview)
    assert rest.obj is frame


def test_a_large_frame_does_not_hold_the_loop(pair: Pair) -> None:
    """One flush writes once, although the other end reads as fast as this one writes."""
    buffer = SendBuffer()
    buffer.frames.append(bytes(4 << 20))
    _, flushes = transfer(buffer, pair)
    assert flushes >= 4


def test_small_frames_leave_together(pair: Pair) -> None:
    """Frames that are ready at the same time cost one system call."""
    buffer = SendBuffer()
    buffer.frames += [b"one", b"two"]
    assert buffer.flush(pair[0])
    assert pair[1].recv(100) == b"onetwo"


def test_a_full_socket_is_no_error(pair: Pair) -> None:
    """Nothing is written, and nothing is lost."""
    ours, theirs = pair
    buffer = SendBuffer()
    buffer.frames.append(bytes(4 << 20))
    while not buffer.flush(ours):
        left = len(buffer.frames[0])
        if not buffer.flush(ours) and len(buffer.frames[0]) == left:
            break
    assert not buffer.flush(ours)
    theirs.recv(1 << 22)
    assert not buffer.flush(ours)
    assert len(buffer.frames[0]) < left


def test_a_broken_connection_is_reported(pair: Pair) -> None:
    """The owner decides what follows from it."""
    ours, theirs = pair
    theirs.close()
    buffer = SendBuffer()
    buffer.frames.append(b"too late")
    with pytest.raises(BrokenPipeError):
        buffer.flush(ours)
