"""Where the notice to leave may be put into what the library sends."""

from __future__ import annotations

import random
import struct

import pytest

from penstock_grpc.frame_watch import LEAVE_NOTICE, FrameWatch

SETTINGS, HEADERS, CONTINUATION, DATA, GOAWAY = 0x4, 0x1, 0x9, 0x0, 0x7
END_HEADERS = 0x4


def frame(kind: int, flags: int, payload: bytes, stream: int = 1) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def frames_of(data: bytes) -> list[bytes]:
    """Return the frames of a whole stream of bytes."""
    found = []
    while data:
        end = 9 + int.from_bytes(data[:3], "big")
        assert len(data) >= end, "the stream ends within a frame"
        found.append(data[:end])
        data = data[end:]
    return found


def random_frames(dice: random.Random) -> list[bytes]:
    sent = [frame(SETTINGS, 0, b"", 0)]
    for _ in range(dice.randint(1, 8)):
        kind = dice.choice(["data", "headers", "block"])
        if kind == "data":
            sent.append(frame(DATA, 0, dice.randbytes(dice.choice([0, 1, 9, 300]))))
        elif kind == "headers":
            sent.append(frame(HEADERS, END_HEADERS, dice.randbytes(20)))
        else:
            sent.append(frame(HEADERS, 0, dice.randbytes(20)))
            sent += [frame(CONTINUATION, 0, b"x") for _ in range(dice.randint(0, 2))]
            sent.append(frame(CONTINUATION, END_HEADERS, b"y"))
    return sent


def test_the_notice_asks_for_a_graceful_end() -> None:
    """It is a GOAWAY for the whole connection, without an error, that names the highest stream."""
    assert frames_of(LEAVE_NOTICE) == [LEAVE_NOTICE]
    assert LEAVE_NOTICE[3] == GOAWAY
    assert struct.unpack(">III", LEAVE_NOTICE[5:]) == (0, 2**31 - 1, 0)


@pytest.mark.parametrize("seed", range(200))
def test_a_notice_never_breaks_a_frame_or_a_block_of_headers(seed: int) -> None:
    """However the bytes are cut, what is sent is the same frames with the notice between two of them."""
    dice = random.Random(seed)
    sent = random_frames(dice)
    left, out, watch, is_notified = b"".join(sent), b"", FrameWatch(), False
    due = dice.randrange(len(left))
    while left:
        size = dice.choice([1, 2, 8, 9, 10, 100, 1000])
        piece, left = left[:size], left[size:]
        place = watch.pass_on(piece)
        if len(out) >= due and place is not None and not is_notified:
            piece, is_notified = piece[:place] + LEAVE_NOTICE + piece[place:], True
        out += piece
        if len(out) >= due and watch.is_between and not is_notified:
            out, is_notified = out + LEAVE_NOTICE, True
    found = frames_of(out)
    assert is_notified
    place = found.index(LEAVE_NOTICE)
    assert found[:place] + found[place + 1 :] == sent
    assert place > 0
    before = found[place - 1]
    assert before[3] not in (HEADERS, CONTINUATION) or before[4] & END_HEADERS


def test_nothing_is_put_before_the_first_frame() -> None:
    """A server's settings come first on a connection."""
    watch = FrameWatch()
    assert not watch.is_between
    assert watch.pass_on(frame(SETTINGS, 0, b"", 0)[:5]) is None
    assert not watch.is_between
    assert watch.pass_on(frame(SETTINGS, 0, b"", 0)[5:]) == 4
    assert watch.is_between
