"""Streams with each driver: events, early exits, cuts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from penstock_client import Retries, Timeouts, errors, event_lines
from tests.client.drivers import DRIVERS, Act, one, stream
from tests.client.scripted_server import Drip, End, ScriptedServer, Step, answer, chunked
from tests.serving import wait_until

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


def met_by(driver: str, *script: Step, act: Act | None = None, **settings: Any) -> Any:
    with ScriptedServer([script]) as server:
        return one(driver, server.url, act or stream(), **settings)


def test_a_stream_has_its_events(driver: str) -> None:
    """One for each line, however the lines are cut into chunks."""
    assert met_by(driver, chunked(b'{"n":1}\n{"n"', b":2}", b"\n", b'"\xc3', b'\xa9"\n')) == [{"n": 1}, {"n": 2}, "é"]


def test_a_last_line_may_lack_its_end(driver: str) -> None:
    """Other servers leave the last line break out."""
    assert met_by(driver, chunked(b"1\r\n2\n\n", b"3")) == [1, 2, 3]


def test_text_joins_the_events(driver: str) -> None:
    """A stream of strings is one text."""
    assert met_by(driver, chunked(b'"to "\n', b'"be"\n'), act=stream(is_text=True)) == "to be"


def test_text_of_numbers_is_refused(driver: str) -> None:
    """It does not guess how a number is written."""
    assert isinstance(met_by(driver, chunked(b"1\n"), act=stream(is_text=True)), TypeError)


def test_other_media_types_are_bytes(driver: str) -> None:
    """The pieces of a sound arrive as they are."""
    assert b"".join(met_by(driver, chunked(b"RIFF", b"\n\x00", media_type="audio/wav"))) == b"RIFF\n\x00"


def test_bytes_may_be_read_as_text(driver: str) -> None:
    """A stream of plain text is one text, with characters that are split over its pieces."""
    body = chunked(b"gr\xc3", b"\xbcn", media_type="text/plain")
    assert met_by(driver, body, act=stream(is_text=True)) == "gr\u00fcn"


def test_bytes_that_are_cut_are_a_truncated_stream(driver: str) -> None:
    """Half a sound is not taken for a sound."""
    error = met_by(driver, chunked(b"RIFF", media_type="audio/wav", end=False), End.CLOSE)
    assert (type(error), error.partial) == (errors.TruncatedStream, [b"RIFF"])


def test_a_line_has_a_longest_length(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never ends a line does not fill the memory."""
    monkeypatch.setattr(event_lines, "_LONGEST_LINE", 100)
    error = met_by(driver, chunked(b"1\n", *[b"x" * 10] * 20))
    assert type(error) is errors.TruncatedStream
    assert (error.partial, "longer than 64 MiB" in str(error)) == ([1], True)


def test_leaving_early_hangs_up(driver: str) -> None:
    """The server sees it at once."""
    with ScriptedServer([(chunked(b"1\n2\n", end=False), End.SILENCE)]) as server:
        began = time.monotonic()
        assert one(driver, server.url, stream(take=1)) == [1]
        wait_until(lambda: server.hang_ups, "the hang-up")
        assert server.hang_ups[0] - began < 1.0


# ---- cuts

TRUNCATED: dict[str, tuple[tuple[Step, ...], list[Any]]] = {
    "after a line": ((chunked(b"1\n2\n", end=False), End.CLOSE), [1, 2]),
    "inside a line": ((chunked(b'1\n{"a', end=False), End.CLOSE), [1]),
    "inside a chunk": ((chunked(b"1\n", end=False) + b"50\r\n2\n", End.CLOSE), [1, 2]),
    "by a reset": ((chunked(b"1\n", end=False), 0.05, End.RESET), [1]),
    "before the first event": ((chunked(end=False), End.CLOSE), []),
    "a clean end inside a line": ((chunked(b'1\n{"a'),), [1]),
    "a line that is not JSON": ((chunked(b"1\n<html>\n"),), [1]),
    "fewer bytes than announced": (
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 90\r\n\r\n1\n",
            End.CLOSE,
        ),
        [1],
    ),
}


@pytest.mark.parametrize("cut", TRUNCATED)
def test_a_truncated_stream_is_never_whole(driver: str, cut: str) -> None:
    """The error has the events that arrived, and the request is not sent again."""
    script, partial = TRUNCATED[cut]
    with ScriptedServer([script]) as server:
        error = one(driver, server.url, stream(idempotent=True), retries=Retries(base=0.001))
        assert len(server.requests) == 1
    assert type(error) is errors.TruncatedStream
    assert error.partial == partial
    assert (error.may_have_run, error.retryable, len(error.attempts)) == (True, True, 1)


FAILED = b'{"error": {"message": "the model is tired", "code": "handler-error"}}\n'


def test_a_failed_stream_says_why(driver: str) -> None:
    """The last line before the cut is the server's reason, and not an event."""
    error = met_by(driver, chunked(b"1\n", FAILED, end=False), End.CLOSE)
    assert (type(error), error.partial, error.server_code) == (errors.StreamFailed, [1], "handler-error")
    assert str(error) == "The stream ended with an error: the model is tired"


def test_an_event_may_look_like_a_failure(driver: str) -> None:
    """A stream that goes on, or ends cleanly, has not failed."""
    value = {"error": {"message": "the model is tired", "code": "handler-error"}}
    assert met_by(driver, chunked(FAILED, b"1\n", FAILED)) == [value, 1, value]


def test_a_stream_that_is_refused_is_tried_again(driver: str) -> None:
    """Until the first byte of the answer, a stream is a call like any other."""
    with ScriptedServer([(answer(status=503),), (chunked(b"1\n"),)]) as server:
        assert one(driver, server.url, stream(), retries=Retries(base=0.001)) == [1]


def test_a_stream_that_is_not_found_is_that_error(driver: str) -> None:
    """The errors are those of a call."""
    assert type(met_by(driver, answer(status=404))) is errors.NotFound


# ---- time


def test_a_silent_stream_meets_the_idle_timeout(driver: str) -> None:
    """Nothing at all has arrived."""
    error = met_by(driver, chunked(b"1\n", end=False), End.SILENCE, timeouts=Timeouts(idle=0.15))
    assert (type(error), error.partial) == (errors.IdleTimeout, [1])


def test_empty_lines_are_no_events(driver: str) -> None:
    """A server that keeps a stream alive with empty lines meets the event time-out."""
    script = (chunked(b"1\n", end=False), *[b"1\r\n\n\r\n", 0.02] * 100)
    error = met_by(driver, *script, timeouts=Timeouts(idle=5, event=0.2))
    assert (type(error), error.partial) == (errors.EventTimeout, [1])


@pytest.mark.timed
def test_total_bounds_a_stream(driver: str) -> None:
    """Events that keep coming do not extend it."""
    script = (chunked(b"1\n", end=False), *[b"2\r\n2\n\r\n", 0.02] * 100)
    began = time.monotonic()
    error = met_by(driver, *script, act=stream(timeout=0.3))
    assert type(error) is errors.TotalTimeout
    assert time.monotonic() - began < 1.5
    assert set(error.partial) == {1, 2}


def test_a_trickling_line_is_read(driver: str) -> None:
    """A line may arrive byte by byte."""
    assert met_by(driver, chunked(b"1\n", end=False), Drip(b'4\r\n"a"\n\r\n0\r\n\r\n', 0.002)) == [1, "a"]
