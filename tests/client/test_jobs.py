"""Background jobs with each driver: the requests, the waits, and events that survive broken connections."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx2
import pytest

from penstock_client import AsyncClient, Client, Job, JobEvent, JobProgress, Retries, Timeouts, errors
from penstock_client.job_events import PATIENCE, EventCursor
from penstock_client.server_sent_events import ServerSentEvent
from tests.client.drivers import DRIVERS
from tests.client.scripted_server import End, ScriptedServer, Step, answer, chunked

QUICK = Retries(base=0.001, cap=0.001)
DOCUMENT = {
    "id": "j1",
    "endpoint": "train",
    "state": "running",
    "cancel_requested": False,
    "progress": {"done": 3.0, "total": 8.0, "message": "epoch 3", "at": "2026-11-29T12:00:00.000Z"},
    "ahead": None,
    "claim": 1,
    "attempts": 1,
    "metadata": {"team": "blue"},
    "created_at": "2026-11-29T11:59:00.000Z",
    "started_at": "2026-11-29T11:59:01.000Z",
    "links": {"self": "/v1/jobs/j1"},
}
Act = Callable[[Any], Any]


class Office:
    """A server of jobs, as a function: each request has the next answer, and the last one again and again."""

    def __init__(self, *answers: httpx2.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self._lock = threading.Lock()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        with self._lock:
            self.requests.append(request)
            found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return httpx2.Response(found.status_code, content=found.content, headers=found.headers)

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]


def document(status: int = 200, **fields: Any) -> httpx2.Response:
    return httpx2.Response(status, json={**DOCUMENT, **fields})


def act(driver: str, server: Any, name: str, *arguments: Any, **options: Any) -> Any:
    """Call a method of ``jobs`` with one client; an iterator is read to its end."""
    settings = {"retries": QUICK, "timeouts": options.pop("timeouts", Timeouts())}
    url = server if isinstance(server, str) else "http://test"
    if driver == "sync":
        if not isinstance(server, str):
            settings["http_client"] = httpx2.Client(transport=httpx2.MockTransport(server))
        with Client(url, **settings) as client:
            found = getattr(client.jobs, name)(*arguments, **options)
            if name == "events":
                with found as events:
                    return list(events)
            return list(found) if name == "list" else found

    async def main() -> Any:
        if not isinstance(server, str):
            settings["http_client"] = httpx2.AsyncClient(transport=httpx2.MockTransport(server))
        async with AsyncClient(url, **settings) as client:
            found = getattr(client.jobs, name)(*arguments, **options)
            if name == "events":
                async with found as events:
                    return [event async for event in events]
            return [job async for job in found] if name == "list" else await found

    return anyio.run(main, backend=driver)


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param


# ---- documents


def test_a_document_is_a_job(driver: str) -> None:
    """Fields that this version does not know are left out."""
    job = act(driver, Office(document()), "get", "j1")
    assert job == Job(
        id="j1",
        endpoint="train",
        state="running",
        progress=JobProgress(3.0, 8.0, "epoch 3", datetime(2026, 11, 29, 12, tzinfo=UTC)),
        claim=1,
        attempts=1,
        metadata={"team": "blue"},
        created_at=datetime(2026, 11, 29, 11, 59, tzinfo=UTC),
        started_at=datetime(2026, 11, 29, 11, 59, 1, tzinfo=UTC),
    )
    assert not job.is_final


@pytest.mark.parametrize("state", ["succeeded", "failed", "timed_out", "cancelled", "expired"])
def test_a_final_state_is_final(driver: str, state: str) -> None:
    """There are five of them."""
    assert act(driver, Office(document(state=state)), "get", "j1").is_final


def test_another_answer_is_no_job(driver: str) -> None:
    """A server that answers something else is not one of jobs."""
    with pytest.raises(errors.InvalidAnswer, match="not a job"):
        act(driver, Office(httpx2.Response(200, json={"id": 7})), "get", "j1")


# ---- requests


def test_a_job_is_put_under_its_id(driver: str) -> None:
    """With the options of its work, and not with the time-out of the request."""
    office = Office(document(201))
    options = {"priority": "batch", "not_before": datetime(2026, 12, 1, tzinfo=UTC), "metadata": {"team": "blue"}}
    act(driver, office, "submit", "train", {"n": 1}, job_id="j1", run_timeout=600, timeout=5.0, **options)
    [request] = office.requests
    assert office.lines == ["PUT /v1/jobs/j1"]
    assert json.loads(request.content) == {
        "endpoint": "train",
        "input": {"n": 1},
        "priority": "batch",
        "not_before": "2026-12-01T00:00:00Z",
        "metadata": {"team": "blue"},
    }
    assert request.headers["x-request-timeout"] == "600"


def test_the_deadline_of_a_request_is_not_that_of_the_work(driver: str) -> None:
    """Without ``run_timeout``, the server hears of no time-out."""
    office = Office(document())
    act(driver, office, "submit", "train", timeout=5.0)
    assert "x-request-timeout" not in office.requests[0].headers


def test_an_id_of_the_clients_makes_a_submission_safe_to_repeat(driver: str) -> None:
    """A lost connection after the request is followed by the same PUT, which stores nothing twice."""
    stored = answer(json.dumps(DOCUMENT).encode(), status=201)
    with ScriptedServer([(End.CLOSE,), (stored,)]) as server:
        assert act(driver, server.url, "submit", "train").id == "j1"
        first, second = server.requests
    assert first.line == second.line
    assert first.line.startswith("PUT /v1/jobs/")
    assert first.body == second.body


def test_a_wait_goes_on_until_the_end(driver: str) -> None:
    """Each request waits for up to half a minute; its own answer may come before the end."""
    office = Office(document(), document(), document(state="succeeded", result=[1]))
    assert act(driver, office, "wait", "j1").result == [1]
    assert office.lines == ["GET /v1/jobs/j1?wait=30"] * 3


def test_a_wait_has_a_deadline(driver: str) -> None:
    """The job goes on, and the caller learns that its time is over."""
    with pytest.raises(errors.TotalTimeout):
        act(driver, Office(document()), "wait", "j1", timeout=0.05)


def test_a_result_is_that_of_a_call(driver: str) -> None:
    """It is waited for, and has the media type of the handler."""
    office = Office(
        document(state="succeeded"), httpx2.Response(200, content=b"\x89PNG", headers={"content-type": "image/png"})
    )
    assert act(driver, office, "result", "j1").value == b"\x89PNG"
    assert office.lines == ["GET /v1/jobs/j1?wait=30", "GET /v1/jobs/j1/result"]


def test_the_result_of_a_failed_job_is_its_error(driver: str) -> None:
    """The same class as if the endpoint had been called."""
    problem = {"type": "urn:penstock:handler-error", "detail": "no"}
    office = Office(document(state="failed"), httpx2.Response(500, json=problem))
    with pytest.raises(errors.HandlerError):
        act(driver, office, "result", "j1")


def test_a_cancel_may_wait_for_the_work_to_stop(driver: str) -> None:
    """It may be sent again after a loss, like everything here but ``retry``."""
    office = Office(document(202, cancel_requested=True))
    assert act(driver, office, "cancel", "j1", wait=10).cancel_requested
    assert office.lines == ["POST /v1/jobs/j1/cancel?wait=10"]


def test_a_retry_is_a_new_job(driver: str) -> None:
    """Its document names the old one; it is not sent twice, which would make two."""
    office = Office(document(201, id="j2", retry_of="j1"))
    assert act(driver, office, "retry", "j1").retry_of == "j1"
    with ScriptedServer([(End.CLOSE,)]) as server:
        with pytest.raises(errors.ConnectionLost):
            act(driver, server.url, "retry", "j1")
        assert len(server.requests) == 1


def test_a_job_may_be_deleted(driver: str) -> None:
    """There is nothing in the answer."""
    office = Office(httpx2.Response(204))
    assert act(driver, office, "delete", "j1") is None
    assert office.lines == ["DELETE /v1/jobs/j1"]


def test_a_list_has_all_pages(driver: str) -> None:
    """The next page is asked for when the last one has been read."""
    pages = [
        {"jobs": [DOCUMENT, {**DOCUMENT, "id": "j2"}], "next_after": "c1"},
        {"jobs": [{**DOCUMENT, "id": "j3"}], "next_after": None},
    ]
    office = Office(*[httpx2.Response(200, json=page) for page in pages])
    found = act(driver, office, "list", state="running", limit=2)
    assert [job.id for job in found] == ["j1", "j2", "j3"]
    assert office.lines == ["GET /v1/jobs?state=running&limit=2", "GET /v1/jobs?state=running&limit=2&after=c1"]


@pytest.mark.parametrize("job_id", ["", "a/b", "ä", "x" * 129])
def test_an_id_that_cannot_be_one_is_refused(driver: str, job_id: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="is not the id of a job"):
        act(driver, Office(document()), "get", job_id)


def test_an_instant_needs_a_time_zone(driver: str) -> None:
    """The server may be in another one."""
    with pytest.raises(ValueError, match="has no time zone"):
        act(driver, Office(document()), "submit", "train", not_before=datetime(2026, 12, 1))  # noqa: DTZ001 - the mistake


def test_an_unknown_option_is_refused(driver: str) -> None:
    """A typing error is noticed here."""
    with pytest.raises(TypeError, match="prioritty"):
        act(driver, Office(document()), "submit", "train", prioritty="batch")


# ---- events


def sse(*numbers: int, end: bool = False) -> bytes:
    blocks = [f'id: {number}\nevent: chunk\ndata: "{number}"\n\n' for number in numbers]
    if end:
        blocks.append(f'id: {numbers[-1] + 1}\nevent: end\ndata: {{"state": "succeeded"}}\n\n')
    return "".join(blocks).encode()


def stream(data: bytes, *, end: bool = True) -> bytes:
    return chunked(b": hello\n\n" + data, media_type="text/event-stream", end=end)


def read(driver: str, *scripts: tuple[Step, ...], **options: Any) -> tuple[Any, ScriptedServer]:
    with ScriptedServer(list(scripts)) as server:
        return act(driver, server.url, "events", "j1", **options), server


def test_events_are_read_to_the_end(driver: str) -> None:
    """Each has its number, its kind and its data."""
    events, server = read(driver, (stream(sse(1, 2, end=True)),))
    assert events == [
        JobEvent(1, "chunk", "1"),
        JobEvent(2, "chunk", "2"),
        JobEvent(3, "end", {"state": "succeeded"}),
    ]
    assert server.requests[0].line == "GET /v1/jobs/j1/events HTTP/1.1"


CUTS: dict[str, tuple[Step, ...]] = {
    "closed": (stream(sse(1, 2), end=False), End.CLOSE),
    "reset": (stream(sse(1, 2), end=False), 0.05, End.RESET),
    "within an event": (stream(sse(1, 2) + b'id: 3\nevent: chunk\ndata: "', end=False), End.CLOSE),
    "ended without the end": (stream(sse(1, 2)),),
    "silent": (stream(sse(1, 2), end=False), End.SILENCE),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_stream_that_breaks_off_goes_on_where_it_was(driver: str, cut: tuple[Step, ...]) -> None:
    """There is no gap, and nothing comes twice, even if the server begins one event too early."""
    events, server = read(driver, cut, (stream(sse(2, 3, 4, end=True)),), timeouts=Timeouts(idle=0.3))
    assert [event.number for event in events] == [1, 2, 3, 4, 5]
    assert [request.headers.get("last-event-id") for request in server.requests] == [None, "2"]


def test_a_server_that_restarts_is_waited_for(driver: str) -> None:
    """Refusals while it starts do not end the stream."""
    starting = answer(b'{"type": "urn:penstock:not-ready"}', status=503)
    scripts = [(stream(sse(1), end=False), End.CLOSE), *[(starting,)] * 5, (stream(sse(2, end=True)),)]
    events, server = read(driver, *scripts)
    assert [event.number for event in events] == [1, 2, 3]
    assert len(server.requests) == 7


def test_events_may_be_read_from_a_number_on(driver: str) -> None:
    """Those up to it are not asked for."""
    events, server = read(driver, (stream(sse(5, end=True)),), after=4)
    assert [event.number for event in events] == [5, 6]
    assert server.requests[0].headers["last-event-id"] == "4"


def test_a_reader_that_has_all_events_is_at_the_end(driver: str) -> None:
    """The server has nothing more, and says so."""
    events, server = read(driver, (b"HTTP/1.1 204 No Content\r\n\r\n",), after=7)
    assert events == []
    assert len(server.requests) == 1


def test_a_chunk_may_be_any_text(driver: str) -> None:
    """Data that is not JSON is a text."""
    data = b"id: 1\nevent: chunk\ndata: not JSON\n\n" + sse(2, end=True)
    events, _ = read(driver, (stream(data),))
    assert events[0] == JobEvent(1, "chunk", "not JSON")


def test_a_job_that_is_not_there_ends_the_events(driver: str) -> None:
    """No further request would find it."""
    missing = answer(b'{"type": "urn:penstock:not-found"}', status=404)
    with ScriptedServer([(stream(sse(1), end=False), End.CLOSE), (missing,)]) as server:
        with pytest.raises(errors.NotFound):
            act(driver, server.url, "events", "j1")
        assert len(server.requests) == 2


def test_the_deadline_ends_the_events(driver: str) -> None:
    """Whatever the server sends."""
    with ScriptedServer([(stream(sse(1), end=False), End.SILENCE)]) as server, pytest.raises(errors.TotalTimeout):
        act(driver, server.url, "events", "j1", timeout=0.3)


def test_events_without_numbers_are_not_those_of_a_job(driver: str) -> None:
    """Another server's stream is not mistaken for one."""
    data = chunked(b"data: 1\n\n", media_type="text/event-stream")
    with ScriptedServer([(data,)]) as server, pytest.raises(errors.InvalidAnswer, match="not the event of a job"):
        act(driver, server.url, "events", "j1")


def test_a_cursor_has_patience_from_its_last_event_on() -> None:
    """A minute without one is too long; the waits grow to the cap."""
    cursor = EventCursor(0, Retries(), lambda: 1.0, 0.0)
    cursor.on_event(ServerSentEvent(event="chunk", id="1", data="1"), 100.0)
    now = 100.0
    waits = []
    while sum(waits) < PATIENCE - 8.0:
        waits.append(cursor.on_broken(errors.ConnectionFailed(""), now))
        now += waits[-1]
    with pytest.raises(errors.ConnectionFailed):
        cursor.on_broken(errors.ConnectionFailed(""), now + 8.0)
    assert waits[:6] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
