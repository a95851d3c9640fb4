"""The framings of a stream: how chunks become the pieces of a body."""

from __future__ import annotations

import msgspec
import pytest

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
