"""Handlers that return iterators, and streams with a media type of their own, over real sockets."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from penstock import Event, HandlerError, ThreadedEngine
from penstock.testing import engine_fixture
from tests.e2e.apps.streams_app import CHUNKS, app
from tests.e2e.watching import wait_event
from tests.serving import Served

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served("tests/e2e/apps/streams_app.py:app", "--log-format", "json") as served:
        yield served


engine = engine_fixture(app, scope="module")


@pytest.mark.parametrize("path", ["/inline", "/plain", "/thread", "/task", "/task-of-def", "/task-plain"])
def test_an_iterator_that_is_returned_is_a_stream(served: Served, path: str) -> None:
    """A handler annotated to return an iterator streams what it returns, in every mode."""
    answer = served.post_json(path, {"n": 3})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert answer.lines() == CHUNKS
    assert served.post_json(path, {"n": 0}).body == b""
    assert served.post_json(path, {"n": "x"}).status == 422


def test_what_is_not_an_iterator_is_an_error(served: Served) -> None:
    """Text in place of an iterator is not streamed letter by letter, nor an asynchronous one without a loop."""
    assert served.post_json("/not-iterator", {"n": 1}).status == 500
    event = wait_event(served, "handler-error", endpoint="not-iterator")
    assert "returned a str, but it is annotated" in event["message"]
    assert served.post_json("/no-loop", {"n": 1}).status == 500
    assert "write `async def`" in wait_event(served, "handler-error", endpoint="no-loop")["message"]


@pytest.mark.parametrize("path", ["/undeclared", "/undeclared-thread", "/undeclared-task", "/undeclared-async"])
def test_a_stream_need_not_be_declared(served: Served, path: str) -> None:
    """Without an annotation, what is returned decides: an iterator streams, any other value is one result."""
    answer = served.post_json(path, {"n": 3})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert answer.lines() == CHUNKS
    answer = served.post_json(path, {"n": 0})
    assert (answer.headers["content-type"], answer.json()) == ("application/json", "nothing")
    events = served.post_json(path, {"n": 1}, headers={"Accept": "text/event-stream"})
    assert events.body == b'data: {"n":0}\n\nevent: end\ndata: {}\n\n'


def test_a_response_around_an_iterator_streams(served: Served) -> None:
    """Its media type, status and headers begin the response; without a media type its chunks are lines of JSON."""
    answer = served.post_json("/download", {"rows": 2})
    assert (answer.status, answer.headers["content-type"]) == (201, "text/csv")
    assert (answer.headers["x-rows"], answer.body) == ("2", b"0\n1\n")
    answer = served.post_json("/download", {"rows": 2, "media_type": None})
    assert (answer.headers["content-type"], answer.lines()) == ("application/x-ndjson", ["0\n", "1\n"])


def test_a_failure_before_the_first_chunk_is_an_ordinary_error(served: Served) -> None:
    """The status and headers of a stream are sent with its first chunk, and not before."""
    answer = served.post_json("/download", {"rows": 0})
    assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "x-rows" not in answer.headers


def test_the_silence_of_an_undeclared_stream_is_bounded(served: Served) -> None:
    """``first_chunk`` holds from the start of the attempt, and ``idle`` between chunks."""
    answer = served.post_json("/silent", {"chunks": 0})
    assert (answer.status, answer.json()["detail"]) == (504, "silent: no first chunk after 0.2 s")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        served.post_json("/silent", {"chunks": 1})


def test_bytes_are_streamed_as_they_are(served: Served) -> None:
    """With a media type, chunks of bytes and of text are the body, whatever the client accepts."""
    answer = served.post_json("/speech", {"parts": 3}, headers={"Accept": "text/event-stream"})
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
    assert answer.body == b"\x00\x00\xff\x00\x02\xff"
    answer = served.post_json("/csv", {"rows": 2})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.body.decode() == "0,é\u2028\n1,é\u2028\n"


def test_a_raw_stream_that_fails_is_cut(served: Served) -> None:
    """After its first chunk a raw stream ends without a clean end; before it, with an ordinary error."""
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        served.post_json("/breaks", {})
    answer = served.post_json("/wrong-chunk", {})
    assert answer.status == 500
    assert "the media type is text/plain: return or yield bytes or str" in answer.json()["detail"]


def test_one_result_may_have_a_media_type(served: Served) -> None:
    """The media type holds for a result that is not a stream, too."""
    answer = served.post_json("/picture", {})
    assert (answer.headers["content-type"], answer.body) == ("image/svg+xml", b"<svg/>")


EVENTS = ("events", "events-thread", "events-task", "events-asyncio")
WRITTEN = "".join(f'event: count\nid: {n}\ndata: {{"n":{n}}}\n\n' for n in range(3)) + 'data: "plain"\n\n'


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_has_its_fields_in_a_stream_of_events(served: Served, name: str) -> None:
    """In every mode: a client of server-sent events gets its name and id, one of NDJSON its data."""
    answer = served.post_json(f"/{name}", {"n": 3}, headers={"Accept": "text/event-stream"})
    assert answer.body.decode() == WRITTEN + "event: end\ndata: {}\n\n"
    assert served.post_json(f"/{name}", {"n": 3}).lines() == [*CHUNKS, "plain"]


@pytest.mark.parametrize("name", EVENTS)
def test_an_embedding_program_gets_events_as_they_were_yielded(engine: ThreadedEngine, name: str) -> None:
    """Events are events, and plain chunks plain."""
    with engine.stream(name, {"n": 3}) as chunks:
        assert list(chunks) == [*(Event(chunk, "count", place) for place, chunk in enumerate(CHUNKS)), "plain"]


@pytest.mark.parametrize("name", ["end", "a\ndata: 3"])
def test_an_event_that_would_break_the_stream_is_an_error(served: Served, engine: ThreadedEngine, name: str) -> None:
    """A name that ends a stream, or a line, is refused where the handler makes the event."""
    with pytest.raises(http.client.IncompleteRead) as cut:
        served.post_json("/forged-event", {"name": name}, headers={"Accept": "text/event-stream"})
    assert cut.value.partial.startswith(b"data: 1\n\nevent: error\n")
    assert "Event(event=" in wait_event(served, "handler-error", endpoint="forged-event")["message"]
    with engine.stream("forged-event", {"name": name}) as chunks:
        assert next(chunks) == Event(1)
        with pytest.raises(HandlerError, match="event="):
            next(chunks)


@pytest.mark.parametrize("name", ["speech", "speech-thread", "speech-task", "speech-asyncio"])
def test_bytes_are_streamed_in_every_mode(served: Served, engine: ThreadedEngine, name: str) -> None:
    """The body over HTTP is that of the chunks; an embedding program gets each that is not empty."""
    assert served.post_json(f"/{name}", {"parts": 3}).body == b"\x00\x00\xff\x00\x02\xff"
    with engine.stream(name, {"parts": 3}) as chunks:
        assert list(chunks) == [b"\x00\x00\xff", b"\x00\x02\xff"]
