"""The framings of a stream: how chunks become the pieces of a body."""

from __future__ import annotations

import msgspec
import pytest

from penstock import Event
from penstock.codec.encoding import ResultEncoder
from penstock.hooks import PublicError
from penstock.hooks.framings import choose_framing

# Every character at which str.splitlines, JavaScript or a client library may split a line, and two at which none does.
TEXT = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\nj\rk\xe9l\u20acm"
ERROR = PublicError(status=500, code="handler-error", title="", message=TEXT, type="server_error", request_id="r1")


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_a_chunk_is_one_line_for_every_client(accept: str) -> None:
    """Characters at which some clients split lines are escaped, in chunks and in the error at the end."""
    framing = choose_framing(accept)
    written = framing.frame([msgspec.json.encode(TEXT), b"1"]) + framing.error(ERROR)
    lines = [line for line in written.decode().splitlines() if line]
    values = [msgspec.json.decode(line.removeprefix("data: ")) for line in lines if line != "event: error"]
    assert values == [TEXT, 1, {"error": ERROR.as_object()}]


def test_events_say_that_they_are_utf8() -> None:
    """Server-sent events name their charset."""
    assert choose_framing("text/event-stream").media_type == "text/event-stream; charset=utf-8"


def test_an_event_has_its_fields_among_events_and_none_among_lines() -> None:
    """A chunk with fields may be beside plain ones; a client that reads lines of JSON sees only the data."""
    events = [1, Event(TEXT, event="text", id=7, retry=0.25), Event([2]), 3]
    chunks = [ResultEncoder().encode_chunk(event) for event in events]
    written = choose_framing("text/event-stream").frame(chunks).decode()
    first, second, *rest = written.split("\n\n")
    assert (first, rest) == ("data: 1", ["data: [2]", "data: 3", ""])
    assert second.startswith('event: text\nid: 7\nretry: 250\ndata: "')
    assert len(written.splitlines()) == 11
    lines = choose_framing(None).frame(chunks).decode().splitlines()
    assert [msgspec.json.decode(line) for line in lines] == [1, TEXT, [2], 3]
