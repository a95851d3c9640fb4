"""Every way in which an answer can be cut, or be other than it says, for whole answers and for streams."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest

from penstock_client import Result, Retries, Timeouts, errors
from tests.client.drivers import DRIVERS, call, drive, one, stream
from tests.client.scripted_server import Drip, End, ScriptedServer, Step, answer, chunked

pytestmark = pytest.mark.parametrize("driver", DRIVERS)

QUICK = Retries(base=0.001)
LINES = "application/x-ndjson"


def head(*headers: str, media_type: str = LINES) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {media_type}", *headers, "", ""]).encode()


CHUNKED = head("Transfer-Encoding: chunked")
MANY_HEADERS = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(1000))


@dataclass(frozen=True)
class Cut:
    """A script whose answer is not whole; ``events`` is None if not even its head is."""

    script: tuple[Step, ...]
    events: list[Any] | None = None
    body: bytes = b""


# A pause before a reset: the bytes before it would be lost with it.
CUTS = {
    "before the head": Cut((End.CLOSE,)),
    "before the head, by a reset": Cut((End.RESET,)),
    "inside the status line": Cut((b"HTTP/1.1 2", End.CLOSE)),
    "inside the head": Cut((CHUNKED[:30], End.CLOSE)),
    "inside the head, by a reset": Cut((CHUNKED[:30], 0.05, End.RESET)),
    "before the end of the head": Cut((CHUNKED[:-2], End.CLOSE)),
    "a head of 1 MB in one line": Cut((b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_000_000 + b"\r\n\r\n", End.SILENCE)),
    "a head of 1 MB without an end": Cut((b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_000_000, End.SILENCE)),
    "a head of 1 MB in many lines": Cut((b"HTTP/1.1 200 OK\r\n" + MANY_HEADERS + b"\r\n", End.SILENCE)),
    "not HTTP": Cut((b"220 mail.example.org ESMTP\r\n", End.CLOSE)),
    "a length that is not a number": Cut((head("Content-Length: many") + b"1\n", End.SILENCE)),
    "two lengths": Cut((head("Content-Length: 2", "Content-Length: 3") + b"1\n", End.SILENCE)),
    "before the first chunk": Cut((CHUNKED, End.CLOSE), []),
    "before the first chunk, by a reset": Cut((CHUNKED, 0.05, End.RESET), []),
    "inside the size of a chunk": Cut((CHUNKED + b"2\r\n1\n\r\n1", End.CLOSE), [1], b"1\n"),
    "inside a chunk": Cut((CHUNKED + b"50\r\n1\n2", End.CLOSE), [1], b"1\n2"),
    "inside a chunk, by a reset": Cut((CHUNKED + b"50\r\n1\n2", 0.05, End.RESET), [1], b"1\n2"),
    "before the end of a chunk": Cut((CHUNKED + b"2\r\n1\n", End.CLOSE), [1], b"1\n"),
    "after a chunk": Cut((chunked(b"1\n", b"2\n", end=False), End.CLOSE), [1, 2], b"1\n2\n"),
    "after a chunk, by a reset": Cut((chunked(b"1\n", b"2\n", end=False), 0.05, End.RESET), [1, 2], b"1\n2\n"),
    "inside the end marker": Cut((chunked(b"1\n", end=False) + b"0\r\n", End.CLOSE), [1], b"1\n"),
    "a chunk without a size": Cut((CHUNKED + b"2\r\n1\n\r\nxyz\r\n", End.SILENCE), [1], b"1\n"),
    "before a body of a known length": Cut((head("Content-Length: 9"), End.CLOSE), []),
    "fewer bytes than announced": Cut((head("Content-Length: 9") + b"1\n2", End.CLOSE), [1], b"1\n2"),
    "fewer bytes than announced, by a reset": Cut((head("Content-Length: 9") + b"1\n2", 0.05, End.RESET), [1], b"1\n2"),
    "without any length, by a reset": Cut((head("Connection: close") + b"1\n", 0.05, End.RESET), [1], b"1\n"),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_answer_is_an_error(driver: str, cut: str) -> None:
    """It is sent once, as it may have run; from the first byte on even if it may run twice; the error has what came."""
    case = CUTS[cut]
    with ScriptedServer([case.script]) as server:
        error = one(driver, server.url, call(body={}, idempotent=case.events is not None), retries=QUICK)
        assert len(server.requests) == 1
    assert type(error) is errors.ConnectionLost
    assert (error.may_have_run, error.retries_refused) == (True, "rule")
    assert error.partial == (None if case.events is None else case.body)


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_stream_is_an_error(driver: str, cut: str) -> None:
    """Before its first byte it is a lost call; from then on a truncated stream, with the events that came."""
    case = CUTS[cut]
    with ScriptedServer([case.script]) as server:
        error = one(driver, server.url, stream(idempotent=case.events is not None), retries=QUICK)
        assert len(server.requests) == 1
    assert type(error) is (errors.ConnectionLost if case.events is None else errors.TruncatedStream)
    assert (error.may_have_run, error.retries_refused) == (True, "rule")
    assert error.partial == case.events


@pytest.mark.parametrize("cut", [name for name, case in CUTS.items() if case.events is None])
@pytest.mark.parametrize(
    "act", [call(body={}, idempotency_key="k"), stream(idempotency_key="k")], ids=["call", "stream"]
)
def test_what_may_run_twice_is_sent_again_until_its_head(driver: str, cut: str, act: Any) -> None:
    """With a key for idempotency, the next request may succeed."""
    with ScriptedServer([CUTS[cut].script, (chunked(b"7\n"),)]) as server:
        found = one(driver, server.url, act, retries=QUICK)
        assert [request.headers["idempotency-key"] for request in server.requests] == ["k", "k"]
    assert (found.value if isinstance(found, Result) else found) == [7]


# ---- answers that are whole, for all their faults

WHOLE: dict[str, tuple[Step, ...]] = {
    "without any length": (head("Connection: close") + b"1\n2\n", End.CLOSE),
    "of HTTP/1.0": (head().replace(b"1.1", b"1.0") + b"1\n2\n", End.CLOSE),
    "byte by byte": (Drip(chunked(b"1\n", b"2\n"), 0.001),),
    "with extensions and trailers": (CHUNKED + b"4;a=b\r\n1\n2\n\r\n0\r\nX-Checksum: 7\r\n\r\n",),
    "after an interim response": (b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" + chunked(b"1\n", b"2\n"),),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_is_read(driver: str, name: str) -> None:
    """The end is where the framing says, however the bytes arrive."""
    with ScriptedServer([WHOLE[name]]) as server:
        result, events = drive(driver, server.url, call(), stream())
    assert (result.value, events) == ([1, 2], [1, 2])


# ---- slow

SLOW: dict[str, tuple[Step, ...]] = {
    "before the head": (5.0,),
    "inside the head": (CHUNKED[:30], 5.0),
    "in a body without an end": (CHUNKED, *[b"2\r\n1\n\r\n", 0.05] * 100),
    "in a body of single bytes": (head("Content-Length: 1000"), Drip(b"1\n" * 500, 0.02)),
    "in a body that stops": (CHUNKED + b"2\r\n1\n\r\n", 5.0),
}


@pytest.mark.timed
@pytest.mark.parametrize("act", [call(body={}, timeout=0.3), stream(timeout=0.3)], ids=["call", "stream"])
@pytest.mark.parametrize("place", SLOW)
def test_a_slow_answer_meets_its_deadline(driver: str, place: str, act: Any) -> None:
    """Wherever the server takes its time, the call is over soon after its own is."""
    began = time.monotonic()
    with ScriptedServer([SLOW[place]]) as server:
        error = one(driver, server.url, act)
        assert time.monotonic() - began < 1.3
        assert len(server.requests) == 1
    assert type(error) is errors.TotalTimeout
    assert error.may_have_run


def test_a_slow_head_meets_the_first_byte_timeout(driver: str) -> None:
    """It bounds the wait for the head."""
    with ScriptedServer([(CHUNKED[:30], End.SILENCE)]) as server:
        error = one(driver, server.url, stream(), timeouts=Timeouts(first_byte=0.2))
    assert type(error) is errors.FirstByteTimeout


@pytest.mark.timed
@pytest.mark.parametrize("act", [call(body={}, timeout=0.3), stream(timeout=0.3)], ids=["call", "stream"])
def test_a_head_of_single_bytes_meets_its_deadline(driver: str, act: Any) -> None:
    """Bytes that keep coming do not extend it."""
    began = time.monotonic()
    with ScriptedServer([(Drip(CHUNKED + b"0\r\n\r\n", 0.04),)]) as server:
        error = one(driver, server.url, act)
        assert time.monotonic() - began < 1.3
    assert type(error) is errors.TotalTimeout


LATE_SILENCES: dict[str, tuple[Any, Timeouts, type[errors.ClientError]]] = {
    "a call, at its deadline": (call(), Timeouts(idle=20, total=0.5), errors.TotalTimeout),
    "a stream, at its deadline": (stream(), Timeouts(idle=20, total=0.5), errors.TotalTimeout),
    "a stream, after its last event": (stream(), Timeouts(idle=20, event=0.3), errors.EventTimeout),
    "a stream, after its last byte": (stream(), Timeouts(idle=0.3), errors.IdleTimeout),
}


@pytest.mark.timed
@pytest.mark.parametrize("name", LATE_SILENCES)
def test_a_silence_that_begins_late_ends_in_time(driver: str, name: str) -> None:
    """The limit is counted from where it belongs, and not from the last read."""
    act, timeouts, kind = LATE_SILENCES[name]
    began = time.monotonic()
    with ScriptedServer([(CHUNKED, *[b"2\r\n1\n\r\n", 0.05] * 6, End.SILENCE)]) as server:
        error = one(driver, server.url, act, timeouts=timeouts)
        assert 0.45 < time.monotonic() - began < 1.5
    assert type(error) is kind
    assert error.partial == (b"1\n" * 6 if isinstance(error.partial, bytes) else [1] * 6)


# ---- bytes of no answer


@pytest.mark.parametrize("rest", [answer(b"666"), answer(b"", status=204), chunked(b"666\n")])
@pytest.mark.parametrize("act", [call(idempotent=True), stream(idempotent=True)], ids=["call", "stream"])
def test_more_bytes_than_announced_are_no_part_of_any_answer(driver: str, act: Any, rest: bytes) -> None:
    """The answer is whole; the next call does not take the rest for its own, and has its answer on a new connection.

    Whether it was sent on the old one before depends on when the rest has arrived.
    """
    long = head("Content-Length: 2", media_type="application/json") + b"12" + rest
    with ScriptedServer([(long,), (chunked(b"7\n"),)]) as server:
        first, second = drive(driver, server.url, call(), act, retries=QUICK)
        assert server.connections == 2
    assert first.value == 12
    assert (second.value if isinstance(second, Result) else second) == [7]


def test_a_call_that_finds_bytes_of_no_answer_may_have_run(driver: str) -> None:
    """It was sent, so without leave to run twice it is not sent again; the connection is closed."""
    long = head("Content-Length: 2", media_type="application/json") + b"12" + answer(b"666")
    with ScriptedServer([(long,), (End.SILENCE,), (answer(b"7"),)]) as server:
        _, error, after = drive(driver, server.url, call(), call(), call(), retries=QUICK)
        assert server.connections == 2
    assert (type(error), error.may_have_run) == (errors.ConnectionLost, True)
    assert after.value == 7
