from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator

import pytest

from examples import stream
from examples.make_data import PAGE_LINES
from penstock import InvalidRequest
from tests.serving import ROOT, Served

DATA = ROOT / "examples" / "data"
PAGE = (DATA / "page.png").read_bytes()


def squeezed(lines: list[str] | tuple[str, ...]) -> list[str]:
    """Return the lines without spaces: models differ in the gap that they read as a space."""
    return ["".join(line.split()) for line in lines]


@pytest.fixture(scope="module")
def model() -> stream.Lines:
    model = stream.Lines()
    model.setup()
    return model


def test_every_line_is_a_chunk_of_its_own(model: stream.Lines) -> None:
    """The chunks are the lines that were drawn, numbered, from top to bottom."""
    lines = list(model.predict(PAGE))
    assert squeezed([line.text for line in lines]) == squeezed(PAGE_LINES)
    assert [line.number for line in lines] == list(range(1, len(PAGE_LINES) + 1))
    assert {line.total for line in lines} == {len(PAGE_LINES)}


def test_reading_is_lazy(model: stream.Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is recognised only when it is asked for: a caller who leaves costs nothing further."""
    recognised = []
    recognise = model._recognise
    monkeypatch.setattr(model, "_recognise", lambda strip: recognised.append(strip) or recognise(strip))
    lines = model.predict(PAGE)
    next(lines)
    lines.close()
    assert len(recognised) == 1


def test_a_page_without_text_is_an_empty_stream(model: stream.Lines) -> None:
    """An empty page yields no chunk and is not an error."""
    assert list(model.predict((DATA / "blank.png").read_bytes())) == []


def test_what_is_not_a_png_is_the_callers_error(model: stream.Lines) -> None:
    """A body that is not a PNG is refused before the first chunk."""
    with pytest.raises(InvalidRequest, match="not a PNG"):
        next(model.predict(b"nonsense"))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served("examples/stream.py") as served:
        yield served
        assert served.stop() == 0
        assert served.survivors() == []


@contextlib.contextmanager
def posted(served: Served, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """Post the page and yield the response, to be read as it arrives."""
    connection = http.client.HTTPConnection(served.host, served.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/lines", PAGE, {"Content-Type": "application/octet-stream", **headers})
        yield connection.getresponse()


@pytest.mark.e2e
def test_lines_arrive_one_by_one(served: Served) -> None:
    """Each line arrives before the next is recognised, not all of them together at the end."""
    arrivals = []
    with posted(served) as response:
        assert response.status == 200
        assert response.getheader("Content-Type") == "application/x-ndjson"
        lines = []
        for line in response:
            arrivals.append(time.monotonic())
            lines.append(json.loads(line)["text"])
    assert squeezed(lines) == squeezed(PAGE_LINES)
    # Six recognitions lie between the first line and the last; each takes tens of milliseconds.
    assert arrivals[-1] - arrivals[0] > 0.02


@pytest.mark.e2e
def test_the_same_lines_as_server_sent_events(served: Served) -> None:
    """As server-sent events, each line is the ``data:`` of an event, and ``event: end`` is last."""
    with posted(served, Accept="text/event-stream") as response:
        assert response.getheader("Content-Type", "").startswith("text/event-stream")
        text = response.read().decode()
    events = [event for event in text.split("\n\n") if event and not event.startswith(":")]
    lines = [json.loads(event.removeprefix("data: "))["text"] for event in events[:-1]]
    assert squeezed(lines) == squeezed(PAGE_LINES)
    assert events[-1].startswith("event: end")


@pytest.mark.e2e
def test_after_a_hang_up_the_next_page_is_read(served: Served) -> None:
    """A client that leaves after the first line does not block the only worker for the next client."""
    with posted(served) as response:
        assert json.loads(response.readline())["number"] == 1
    with posted(served) as response:
        assert len(response.read().splitlines()) == len(PAGE_LINES)
