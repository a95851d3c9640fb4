"""Server-sent events: the decoder by the rules of the HTML standard, and streams of them with each driver."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_client import AsyncClient, Client, ServerSentEvent, Timeouts, errors, server_sent_events
from penstock_client.event_framing import FramedEvents
from penstock_client.server_sent_events import EventDecoder
from tests.client.drivers import DRIVERS, Act, one, stream
from tests.client.scripted_server import End, ScriptedServer, Step, chunked

SSE = "text/event-stream"


def decoded(*pieces: bytes) -> list[ServerSentEvent]:
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + list(decoder.finish())


def facts(*pieces: bytes) -> list[tuple[str, str, str, float | None]]:
    return [(event.data, event.event, event.id, event.retry) for event in decoded(*pieces)]


# ---- the decoder

RULES: dict[str, tuple[bytes, list[tuple[str, str, str, float | None]]]] = {
    "a line of data": (b"data: one\n\n", [("one", "", "", None)]),
    "no space after the colon": (b"data:one\n\n", [("one", "", "", None)]),
    "only one space is removed": (b"data:  one\n\n", [(" one", "", "", None)]),
    "several lines of data": (b"data: one\ndata:\ndata: two\n\n", [("one\n\ntwo", "", "", None)]),
    "a name without a colon": (b"data\n\n", [("", "", "", None)]),
    "comments": (b": hello\n\ndata: 1\n: again\ndata: 2\n\n:\n\n", [("1\n2", "", "", None)]),
    "an event without data": (b"event: ping\n\nretry: 5\n\ndata: 1\n\n", [("1", "", "", 0.005)]),
    "a name for one event": (b"event: word\ndata: 1\n\ndata: 2\n\n", [("1", "word", "", None), ("2", "", "", None)]),
    "an id that stays": (b"id: 7\ndata: 1\n\ndata: 2\n\n", [("1", "", "7", None), ("2", "", "7", None)]),
    "an id that is taken back": (b"id: 7\ndata: 1\n\nid\ndata: 2\n\n", [("1", "", "7", None), ("2", "", "", None)]),
    "an id with a null": (b"id: 7\0\ndata: 1\n\n", [("1", "", "", None)]),
    "a time to come back": (b"retry: 1500\ndata: 1\n\n", [("1", "", "", 1.5)]),
    "a time that is not one": (b"retry: soon\ndata: 1\n\n", [("1", "", "", None)]),
    "an error in a field of its own": (b"error: no\n\ndata: 1\n\n", [("no", "error", "", None), ("1", "", "", None)]),
    "an unknown field": (b"colour: red\ndata: 1\n\n", [("1", "", "", None)]),
    "CRLF": (b"data: 1\r\ndata: 2\r\n\r\ndata: 3\r\n\r\n", [("1\n2", "", "", None), ("3", "", "", None)]),
    "CR": (b"data: 1\rdata: 2\r\rdata: 3\r\r", [("1\n2", "", "", None), ("3", "", "", None)]),
    "a byte order mark": (b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n", [("1", "", "", None)]),
    "line breaks of Unicode": ("data: a\u2028b\u0085c\x0bd\n\n".encode(), [("a\u2028b\u0085c\x0bd", "", "", None)]),
    "no empty line at the end": (b"data: 1\n\ndata: 2", [("1", "", "", None), ("2", "", "", None)]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_of_the_standard(rule: str) -> None:
    """Each is an example. Two depart from the standard, which drops the event: a field ``error``, and no last line."""
    text, events = RULES[rule]
    assert facts(text) == events


@pytest.mark.parametrize("rule", RULES)
def test_bytes_may_arrive_one_by_one(rule: str) -> None:
    """No rule depends on where the network has cut."""
    text, events = RULES[rule]
    assert facts(*(text[place : place + 1] for place in range(len(text)))) == events


def test_an_event_is_there_with_its_last_byte() -> None:
    """It does not wait for the byte after a CR, which may be the LF of the same line end."""
    decoder = EventDecoder()
    assert [event.data for event in decoder.feed(b"data: 1\r\n\r")] == ["1"]
    assert [event.data for event in decoder.feed(b"\ndata: 2\n\n")] == ["2"]


def test_text_that_is_not_utf_8_is_an_error() -> None:
    """It is not replaced by question marks, as the standard has it."""
    with pytest.raises(errors.TruncatedStream, match="not UTF-8"):
        decoded(b"data: \xff\n\n")


@pytest.mark.parametrize("line", [b"data: xxxxxxxx", b"data: xxxxxxxx\n", b": xxxxxxxxxxxxx"])
def test_an_event_has_a_largest_size(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without end, or an event of lines without end, does not fill the memory."""
    monkeypatch.setattr(server_sent_events, "_LARGEST_EVENT", 100)
    with pytest.raises(errors.TruncatedStream, match="larger than 64 MiB"):
        decoded(*[line] * 100)


def test_the_size_is_that_of_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long stream of small events, and of comments, is welcome."""
    monkeypatch.setattr(server_sent_events, "_LARGEST_EVENT", 100)
    assert len(decoded(*[b": a comment of some length\ndata: 1\n\n"] * 100)) == 100


LINES = st.sampled_from(
    [b"data: a", b"data:\xc3\xa9", b"data", b"event: e", b"id: 1", b"id", b"retry: 9", b":", b": c", b"x: y", b"", b""]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
STREAMS = st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=30).map(b"".join)


@given(text=STREAMS | st.text("da:t \r\n\ufeffé", max_size=60).map(str.encode), data=st.data())
def test_the_cuts_of_the_network_do_not_matter(text: bytes, data: st.DataObject) -> None:
    """Any split of the bytes has the same events."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert decoded(*pieces) == decoded(text)


@given(datas=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=8))
def test_what_is_written_is_read(datas: list[str]) -> None:
    """Any text on one line arrives as it was."""
    text = b"".join(b"data: " + data.encode() + b"\n\n" for data in datas)
    assert [event.data for event in decoded(text)] == datas


# ---- streams of events


def met_by(driver: str, *script: Step, act: Act | None = None, **settings: Any) -> Any:
    with ScriptedServer([script]) as server:
        return one(driver, server.url, act or stream(), **settings)


each_driver = pytest.mark.parametrize("driver", DRIVERS)


@each_driver
def test_a_stream_has_the_values_of_its_events(driver: str) -> None:
    """JSON in the data, however the bytes are cut into chunks; comments and empty events are passed over."""
    chunks = (b'data: {"n"', b":1}\n", b'\n: alive\n\ndata: "\xc3', b'\xa9"\n\nevent: ping\n\ndata:\n\ndata: 3\n\n')
    assert met_by(driver, chunked(*chunks, media_type=f"{SSE}; charset=utf-8")) == [{"n": 1}, "é", 3]


@each_driver
def test_the_end_of_penstock_is_not_an_event(driver: str) -> None:
    """``event: end`` has no value, and what follows it does not matter."""
    chunks = (b'data: "a"\n\nevent: end\ndata: {}\n\n', b"data: 2\n\n")
    assert met_by(driver, chunked(*chunks, media_type=SSE)) == ["a"]


@each_driver
@pytest.mark.parametrize("end", [End.CLOSE, End.RESET, End.SILENCE])
def test_a_stream_is_whole_at_the_mark_of_its_end(driver: str, end: End) -> None:
    """A connection that is then cut, or kept open, makes no difference."""
    script = (chunked(b"data: 1\n\ndata: [DONE]\n\n", media_type=SSE, end=False), 0.05, end)
    began = time.monotonic()
    assert met_by(driver, *script, timeouts=Timeouts(idle=2)) == [1]
    assert time.monotonic() - began < 10


@each_driver
def test_a_connection_is_used_again_after_the_mark(driver: str) -> None:
    """The rest of the response is read, so that a stream does not cost a connection."""
    with ScriptedServer([(chunked(b"data: 1\n\ndata: [DONE]\n\n", media_type=SSE),)]) as server:
        if driver == "sync":
            with Client(server.url) as client:
                for _ in range(2):
                    with client.stream("w") as events:
                        assert list(events) == [1]
        else:
            anyio.run(twice, server.url, backend=driver)
        assert (len(server.requests), server.connections) == (2, 1)


async def twice(url: str) -> None:
    async with AsyncClient(url) as client:
        for _ in range(2):
            async with client.stream("w") as events:
                assert [event async for event in events] == [1]


@each_driver
def test_text_joins_the_values(driver: str) -> None:
    """As for lines of JSON."""
    body = chunked(b'data: "to "\n\ndata: "be"\n\n', media_type=SSE)
    assert met_by(driver, body, act=stream(is_text=True)) == "to be"


TRUNCATED: dict[str, tuple[tuple[Step, ...], list[Any]]] = {
    "after an event": ((chunked(b"data: 1\n\n", media_type=SSE, end=False), End.CLOSE), [1]),
    "inside an event": ((chunked(b"data: 1\n\ndata: 2\n", media_type=SSE, end=False), End.CLOSE), [1]),
    "by a reset": ((chunked(b"data: 1\n\n", media_type=SSE, end=False), 0.05, End.RESET), [1]),
    "before the first event": ((chunked(media_type=SSE, end=False), End.CLOSE), []),
    "a clean end inside an event": ((chunked(b'data: 1\n\ndata: {"a', media_type=SSE),), [1]),
    "text in place of JSON": ((chunked(b"data: 1\n\ndata: hello\n\n", media_type=SSE),), [1]),
}


@each_driver
@pytest.mark.parametrize("cut", TRUNCATED)
def test_a_truncated_stream_is_never_whole(driver: str, cut: str) -> None:
    """The error has the values that arrived, those of the same piece too."""
    script, partial = TRUNCATED[cut]
    error = met_by(driver, *script)
    assert (type(error), error.partial, error.may_have_run) == (errors.TruncatedStream, partial, True)


FAILED: dict[str, bytes] = {
    "Penstock": b'event: error\ndata: {"error": {"message": "the model is tired", "code": "handler-error"}}\n\n',
    "an error without a name": b'data: {"error": {"message": "the model is tired", "code": "handler-error"}}\n\n',
    "Anthropic": b'event: error\ndata: {"type": "error", "error": {"type": "handler-error", "message": "the model is '
    b'tired"}}\n\n',
}


@each_driver
@pytest.mark.parametrize("server", FAILED)
def test_a_failed_stream_says_why(driver: str, server: str) -> None:
    """The error has the code and the message of the server, and is not an event."""
    error = met_by(driver, chunked(b"data: 1\n\n", FAILED[server], media_type=SSE, end=False), End.CLOSE)
    assert (type(error), error.partial, error.server_code) == (errors.StreamFailed, [1], "handler-error")
    assert str(error) == "The stream ended with an error: the model is tired"


@each_driver
def test_a_failure_in_words_is_one_too(driver: str) -> None:
    """The data of an event with the name ``error`` may be a text."""
    error = met_by(driver, chunked(b"event: error\ndata: out of memory\n\n", media_type=SSE))
    assert (type(error), error.partial) == (errors.StreamFailed, [])
    assert "out of memory" in str(error)


@each_driver
def test_an_event_may_look_like_a_failure(driver: str) -> None:
    """A stream that goes on, or ends cleanly, has not failed."""
    nameless = FAILED["an error without a name"]
    value = {"error": {"message": "the model is tired", "code": "handler-error"}}
    assert met_by(driver, chunked(nameless, b"data: 1\n\n", nameless, media_type=SSE)) == [value, 1, value]


def test_an_event_named_end_may_have_data() -> None:
    """Only Penstock's own is the end of a stream."""
    framed = FramedEvents()
    found = [*framed.feed(b'event: end\ndata: {"n": 1}\n\ndata: 2\n\n'), *framed.finish()]
    assert [event.data for event, _ in found] == ['{"n": 1}', "2"]


@each_driver
def test_comments_keep_a_stream_alive_but_are_no_events(driver: str) -> None:
    """They satisfy ``idle``, and not ``event``; so do events without data."""
    alive = [b"9\r\n: alive\n\n\r\nd\r\nevent: ping\n\n\r\n", 0.02] * 200
    script = (chunked(b"data: 1\n\n", media_type=SSE, end=False), *alive)
    error = met_by(driver, *script, timeouts=Timeouts(idle=2, event=0.3))
    assert (type(error), error.partial) == (errors.EventTimeout, [1])


@each_driver
def test_comments_satisfy_the_idle_timeout(driver: str) -> None:
    """A stream that is silent but for them goes on."""
    alive = [b"9\r\n: alive\n\n\r\n", 0.1] * 20
    script = (chunked(b"data: 1\n\n", media_type=SSE, end=False), *alive, b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
    assert met_by(driver, *script, timeouts=Timeouts(idle=1)) == [1, 2]


# ---- events as they are

NAMED = b'event: word\nid: 7\nretry: 1500\ndata: "to"\n\ndata: be\n\nevent: end\ndata: {}\n\n'


@each_driver
def test_events_have_their_names_and_ids(driver: str) -> None:
    """``events()`` leaves the data as text, which need not be JSON."""
    with ScriptedServer([(chunked(NAMED, media_type=SSE),)]) as server:
        found = read_events(driver, server.url)
    assert [(event.data, event.event, event.id, event.retry) for event in found] == [
        ('"to"', "word", "7", 1.5),
        ("be", "", "7", 1.5),
    ]


@each_driver
def test_lines_of_json_have_no_events(driver: str) -> None:
    """The error says what to ask for."""
    with ScriptedServer([(chunked(b"1\n"),)]) as server, pytest.raises(TypeError, match="text/event-stream"):
        read_events(driver, server.url)


def read_events(driver: str, url: str) -> list[ServerSentEvent]:
    if driver == "sync":
        with Client(url) as client, client.stream("w") as events:
            return list(events.events())
    return anyio.run(read_events_async, url, backend=driver)


async def read_events_async(url: str) -> list[ServerSentEvent]:
    async with AsyncClient(url) as client, client.stream("w") as events:
        return [event async for event in events.events()]


# ---- the bound of partial

TEN = chunked(*(f"data: {number}\n\n".encode() for number in range(10)), media_type=SSE, end=False)


@each_driver
@pytest.mark.parametrize(
    ("keep_bytes", "partial"), [(None, list(range(10))), (6, [7, 8, 9]), (1, [9]), (0, []), (10_000, list(range(10)))]
)
def test_partial_has_a_bound(driver: str, keep_bytes: int | None, partial: list[int]) -> None:
    """The last values are kept: those that took this number of bytes in the stream."""
    error = met_by(driver, TEN, End.CLOSE, act=stream(keep_bytes=keep_bytes))
    assert (type(error), error.partial) == (errors.TruncatedStream, partial)


def test_an_endless_stream_does_not_fill_the_memory() -> None:
    """By default 16 MiB are kept, and ``dropped`` counts the values that are not."""
    line = b'"' + b"x" * 1_000_000 + b'"\n'
    with (
        ScriptedServer([(chunked(*[line] * 20),)]) as server,
        Client(server.url) as client,
        client.stream("w") as events,
    ):
        for _ in events:
            pass
        assert (len(events.partial), events.dropped) == (16, 4)


@each_driver
def test_text_is_whole_whatever_is_kept(driver: str) -> None:
    """It needs all values, and keeps them."""
    body = chunked(b'"to "\n', b'"be"\n')
    assert met_by(driver, body, act=stream(is_text=True, keep_bytes=0)) == "to be"


def test_text_is_never_only_the_end() -> None:
    """After a loop that has dropped values, it is an error."""
    with (
        ScriptedServer([(chunked(b'"to "\n"be"\n"!"\n'),)]) as server,
        Client(server.url) as client,
        client.stream("w", keep_bytes=1) as events,
    ):
        assert [next(events), next(events)] == ["to ", "be"]
        with pytest.raises(RuntimeError, match="the first 1 events are no longer kept"):
            events.text()


def test_a_negative_bound_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="keep_bytes=-1"), Client("http://test").stream("w", keep_bytes=-1):
        pass
