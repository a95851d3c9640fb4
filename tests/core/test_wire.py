"""The frames: however the bytes are split or damaged, messages come out whole or not at all."""

from __future__ import annotations

import ast
import math
from itertools import pairwise
from pathlib import Path
from struct import pack as pack_struct
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import wire
from penstock.response import Encoded
from penstock.wire import FrameReader, WireError, pack

IDS = st.integers(min_value=0, max_value=2**63 - 1)
SECONDS = st.floats(allow_nan=False)
AMOUNTS = st.floats(min_value=0.0, max_value=1e15)
DURATIONS = st.floats(min_value=0.0, max_value=1e9)
HEADERS = st.dictionaries(st.text(), st.text(), max_size=3)
HEADER_NAMES = st.text(alphabet="!#$%&'*+.^_`|~09AZaz-", min_size=1)
HEADER_VALUES = st.text(alphabet=st.characters(codec="latin-1", exclude_categories=["Cc"]))
STATUSES = st.integers(min_value=200, max_value=599)
ABOUT = st.builds(
    wire.About, st.text(), IDS, st.none() | st.text(), HEADERS, SECONDS, st.text(), st.text(), IDS, st.booleans()
)
INPUT_FORM = st.builds(wire.InputForm, st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=3), st.text())
WORK = st.builds(wire.Work, st.binary(), st.none() | ABOUT, st.none() | INPUT_FORM)
RESPONSE_HEADERS = st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=3)
ENCODED = st.builds(Encoded, st.binary(), st.none() | HEADER_VALUES, STATUSES, st.none() | RESPONSE_HEADERS)
ERRORS = st.lists(HEADERS, max_size=2)
FIELDS = st.dictionaries(st.text(), st.none() | st.booleans() | SECONDS | st.text() | ERRORS)
FAILURE = st.builds(
    wire.Failure, st.text(), st.text(), st.text(), st.text(), st.booleans(), SECONDS, error=st.text(), fields=FIELDS
)
DECLARED = st.none() | st.builds(wire.Declared, st.dictionaries(st.text(), HEADERS, max_size=2), HEADERS)

TRACE = st.builds(wire.Trace, st.text(), st.text(), st.booleans(), IDS, st.text(), st.text())
NAMES = st.lists(st.text(), max_size=4)
RUN = st.builds(wire.Run, IDS, st.text(), SECONDS, st.lists(WORK, max_size=4), NAMES, st.none() | TRACE, NAMES)
DONE = st.builds(wire.Done, IDS, DURATIONS, st.lists(ENCODED | FAILURE, max_size=4))
SIZES = st.lists(st.integers(min_value=0, max_value=wire.MAX_FRAME_BYTES), max_size=4)

MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    wire.Run: RUN,
    wire.LargeRun: st.builds(wire.LargeRun, RUN, SIZES),
    wire.Greeting: st.builds(wire.Greeting),
    wire.Cancel: st.builds(wire.Cancel, IDS),
    wire.Credit: st.builds(wire.Credit, IDS, IDS),
    wire.Stop: st.builds(wire.Stop),
    wire.Check: st.builds(wire.Check),
    wire.Unfit: st.builds(wire.Unfit, st.text()),
    wire.TemplateReady: st.builds(wire.TemplateReady, st.text(), IDS),
    wire.TemplateLost: st.builds(wire.TemplateLost, st.text()),
    wire.Ready: st.builds(wire.Ready, DURATIONS, IDS),
    wire.SetupFailed: st.builds(wire.SetupFailed, st.text(), st.text(), DECLARED),
    wire.Done: DONE,
    wire.LargeDone: st.builds(wire.LargeDone, DONE, SIZES),
    wire.Head: st.builds(wire.Head, IDS, ENCODED),
    wire.Chunk: st.builds(wire.Chunk, IDS, st.binary()),
    wire.Progress: st.builds(
        wire.Progress, IDS, AMOUNTS, st.none() | AMOUNTS, st.none() | st.text(max_size=wire.MOST_PROGRESS_CHARACTERS)
    ),
    wire.Load: st.builds(wire.Load, st.text(), st.lists(st.text()), st.lists(st.text()), st.text()),
    wire.Loaded: st.builds(wire.Loaded, SECONDS, st.lists(st.text())),
    wire.LoadFailed: st.builds(wire.LoadFailed, st.text(), DECLARED),
    wire.Spawn: st.builds(wire.Spawn, IDS, st.text(), st.text(), st.none() | st.text(), setups=NAMES),
    wire.Spawned: st.builds(wire.Spawned, IDS, IDS),
    wire.SpawnFailed: st.builds(wire.SpawnFailed, IDS, st.text()),
    wire.Suspended: st.builds(wire.Suspended, IDS),
    wire.Exited: st.builds(wire.Exited, IDS, st.integers(min_value=-64, max_value=255)),
}
PARTS = {wire.About, wire.InputForm, wire.Work, wire.Failure, wire.Declared, wire.Trace, wire.Log}
# The machine may be busy with other tests, so the time that an example takes proves nothing.
at_leisure = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ANY_MESSAGES = st.lists(st.one_of(*MESSAGES.values()), max_size=8)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut the bytes at these places."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_each_message_comes_out_as_it_went_in(kind: type) -> None:
    """Packed and read, a message of each kind is equal to what it was, and of its own kind."""

    @at_leisure
    @given(MESSAGES[kind])
    def check(message: Any) -> None:
        (received,) = FrameReader().feed(pack(message))
        assert type(received) is kind
        assert received == message

    check()


def test_every_kind_of_message_is_tested() -> None:
    """The strategies above cover every message of the module; a ``Log`` is not framed, and tested with its pump."""
    kinds = set()
    for value in vars(wire).values():
        is_struct = isinstance(value, type) and issubclass(value, msgspec.Struct)
        if is_struct and value.__module__ == wire.__name__ and value not in PARTS:
            kinds.add(value)
    assert kinds == set(MESSAGES)


@at_leisure
@given(ANY_MESSAGES, st.lists(st.integers(min_value=0), max_size=20))
def test_bytes_may_be_split_anywhere(messages: list[Any], cuts: list[int]) -> None:
    """However the bytes arrive, the same messages come out, in order, each as soon as it is whole."""
    reader = FrameReader()
    stream = b"".join(pack(message) for message in messages)
    received = [message for piece in split(stream, cuts) for message in reader.feed(piece)]
    assert received == messages


@at_leisure
@given(ANY_MESSAGES)
def test_bytes_may_come_one_by_one(messages: list[Any]) -> None:
    """A message comes out with its last byte, not earlier and not later."""
    reader = FrameReader()
    for message in messages:
        *pieces, last = [bytes([byte]) for byte in pack(message)]
        assert all(reader.feed(piece) == [] for piece in pieces)
        assert reader.feed(last) == [message]


def test_many_frames_may_come_in_one_piece() -> None:
    """All bytes that have arrived are read at once, and the beginning of the next frame is kept."""
    reader = FrameReader()
    messages = [wire.Cancel(number) for number in range(5000)]
    stream = b"".join(map(pack, messages))
    assert reader.feed(stream[:-1]) == messages[:-1]
    assert reader.feed(stream[-1:]) == messages[-1:]


def test_nothing_is_no_news() -> None:
    """Empty bytes change nothing, at the start and in the middle of a frame."""
    reader, frame = FrameReader(), pack(wire.Cancel(7))
    assert reader.feed(b"") == []
    assert reader.feed(frame[:3]) == []
    assert reader.feed(b"") == []
    assert reader.feed(frame[3:]) == [wire.Cancel(7)]


@at_leisure
@given(st.binary(min_size=1, max_size=64))
def test_garbage_is_refused(payload: bytes) -> None:
    """A payload that is not a message raises ``WireError``, and no other exception."""
    try:
        messages = FrameReader().feed(pack_struct(">I", len(payload)) + payload)
    except WireError:
        return
    (message,) = messages
    assert type(message) in MESSAGES


@at_leisure
@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=5))
def test_no_bytes_raise_anything_but_wire_errors(data: bytes, cuts: list[int]) -> None:
    """Arbitrary bytes from the other end do not crash the engine."""
    reader = FrameReader()
    try:
        for piece in split(data, cuts):
            assert all(type(message) in MESSAGES for message in reader.feed(piece))
    except WireError:
        pass


@pytest.mark.parametrize(
    "message",
    [
        wire.Done(1, math.nan, []),
        wire.Done(1, -1.0, []),
        wire.Done(1, math.inf, []),
        wire.Ready(math.nan, 1),
        wire.Done(1, 0.0, [Encoded(b"", status=99)]),
        wire.Done(1, 0.0, [Encoded(b"", "text/plain\r\nx: y")]),
        wire.Done(1, 0.0, [Encoded(b"", "text/plain\n")]),
        wire.Done(1, 0.0, [Encoded(b"", headers={"x": "y\r\n"})]),
        wire.Done(1, 0.0, [Encoded(b"", headers={"x y": ""})]),
        wire.Done(1, 0.0, [Encoded(b"", headers={"": ""})]),
    ],
    ids=repr,
)
def test_what_no_worker_says_is_garbage(message: Any) -> None:
    """A duration that is none, or a result that no handler can return, is refused where the frame is read."""
    with pytest.raises(WireError):
        FrameReader().feed(pack(message))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",  # nil
        msgspec.msgpack.encode([99, 1]),  # no such tag
        msgspec.msgpack.encode([2]),  # a Cancel of nothing
        msgspec.msgpack.encode([2, "x"]),  # a field of the wrong type
        b"\x92\x16\xa1\xff",  # not UTF-8
        b"\x91" * 100_000,  # nested too deeply
        pack(wire.Cancel(1))[4:] + b"\x00",  # something after the message
    ],
)
def test_each_kind_of_garbage_is_refused(payload: bytes) -> None:
    """An empty frame, an unknown tag, missing or wrong fields, bad UTF-8, deep nesting, trailing bytes."""
    with pytest.raises(WireError, match="is not a valid message"):
        FrameReader().feed(pack_struct(">I", len(payload)) + payload)


def test_an_oversize_frame_is_refused_at_its_header() -> None:
    """A length over the limit raises before any byte of the payload is waited for or kept."""
    with pytest.raises(WireError, match="the frame announces 1073741825 bytes, which exceeds the limit of 1073741824"):
        FrameReader().feed(pack_struct(">I", wire.MAX_FRAME_BYTES + 1))


def test_an_oversize_message_is_refused_by_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that the other end would refuse is not sent."""
    monkeypatch.setattr(wire, "MAX_FRAME_BYTES", 100)
    assert len(pack(wire.Chunk(1, b"x" * 90))) <= 104
    with pytest.raises(WireError, match=r"a message of \d+ bytes exceeds the limit of 100"):
        pack(wire.Chunk(1, b"x" * 101))


@pytest.mark.parametrize("size", [0, 1, 1 << 15, 1 << 17])
def test_a_message_is_packed_the_same_in_pieces(size: int) -> None:
    """The pieces are the frame; a large payload is not copied to join its length."""
    chunk = wire.Chunk(1, bytes(size))
    frames: list[bytes | memoryview] = [b"before"]
    wire.pack_into(frames, chunk)
    assert b"".join(frames) == b"before" + pack(chunk)
    assert len(frames) == (3 if size > 1 << 16 else 2)


def test_nothing_is_left_of_an_oversize_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames that wait to be written are unchanged if a message cannot be packed."""
    monkeypatch.setattr(wire, "MAX_FRAME_BYTES", 1 << 17)
    frames: list[bytes | memoryview] = []
    with pytest.raises(WireError, match=r"a message of \d+ bytes exceeds the limit of 131072"):
        wire.pack_into(frames, wire.Chunk(1, bytes(1 << 17)))
    assert frames == []


def test_whole_messages_before_an_error_are_lost_with_the_stream() -> None:
    """After an error the stream has lost its framing: the reader raises instead of guessing."""
    with pytest.raises(WireError):
        FrameReader().feed(pack(wire.Cancel(1)) + b"\xff\xff\xff\xff")


def test_a_large_frame_in_small_pieces_takes_linear_time() -> None:
    """The pieces of a large frame are joined and scanned once, not again with every piece."""
    scanned = 0

    class Counting(FrameReader):
        def _split(self, data: bytes) -> Any:
            nonlocal scanned
            scanned += len(data)
            return super()._split(data)

    chunk = wire.Chunk(1, bytes(1 << 20))
    frame = pack(chunk)
    reader = Counting()
    pieces = [frame[start : start + 1024] for start in range(0, len(frame), 1024)]
    assert [message for piece in pieces for message in reader.feed(piece)] == [chunk]
    assert scanned <= 2 * len(frame)


def test_what_two_processes_share_is_defined_once() -> None:
    """No module of the core defines a constant of ``wire`` again: a copy that drifts would stall streams in silence."""

    def constants(path: Path) -> set[str]:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        return {name for name in names if name.isupper()}

    home = Path(wire.__file__)
    shared = {name for name in constants(home) if not name.startswith("_")}
    assert {"WINDOW_BYTES", "SHARED_BYTES", "FAILED_HANDLER"} <= shared
    others = [path for path in home.parent.rglob("*.py") if path != home]
    copies = {path.name: {name.lstrip("_") for name in constants(path)} & shared for path in others}
    assert {name: found for name, found in copies.items() if found} == {}
