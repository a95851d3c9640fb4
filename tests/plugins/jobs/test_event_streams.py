"""The events of jobs as server-sent events: numbers without a gap, replays, and readers that come back or are slow."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio

from penstock.errors import InvalidRequest
from penstock.hooks import Principal, RouteRequest
from penstock.job_store import ChunkReport, JobEvent, ProgressReport
from penstock_jobs.event_streams import EVENTS_AT_ONCE, event_bytes
from tests.plugins.jobs.job_route_scene import JobScene
from tests.serving import wait_until


@pytest.fixture
def scene() -> JobScene:
    return JobScene()


def events_in(body: bytes) -> list[tuple[int, str, str]]:
    """Return the number, the name and the data of each event."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        fields = [line.partition(": ")[::2] for line in block.split("\n")]
        data = "\n".join(value for name, value in fields if name == "data")
        found.append((int(dict(fields)["id"]), dict(fields)["event"], data))
    return found


def read(scene: JobScene, job: str, query: str = "", **headers: str) -> list[tuple[int, str, str]]:
    answer = scene.send("GET", f"/v1/jobs/{job}/events{query}", **headers)
    assert (answer.status, answer.media_type) == (200, "text/event-stream")
    return events_in(answer.body)


def eventful(scene: JobScene) -> str:
    job = scene.submit()
    key = scene.claim()
    scene.store.report(key, [ProgressReport(1, 2, "half"), ChunkReport(b'"a"\n'), ChunkReport(b'"b"\n')], now=scene.now)
    scene.finish(key)
    return job


def test_a_replay_has_every_event(scene: JobScene) -> None:
    """After the end too: states, progress and chunks, numbered from 1, and ``end`` with the final state."""
    found = read(scene, eventful(scene))
    assert [number for number, _, _ in found] == [1, 2, 3, 4, 5, 6]
    assert [name for _, name, _ in found] == ["state", "state", "progress", "chunk", "chunk", "end"]
    assert [json.loads(data).get("state") for _, name, data in found if name in {"state", "end"}] == [
        "queued",
        "running",
        "succeeded",
    ]
    progress = json.loads(found[2][2])
    assert progress == {"done": 1, "total": 2, "message": "half", "at": "2027-01-15T08:00:00.000Z"}
    assert found[3][2] == '"a"'


@pytest.mark.parametrize(
    ("query", "headers", "first"),
    [
        ("?after=2", {}, 3),
        ("", {"Last_Event_ID": "5"}, 6),
        ("?after=1", {"Last_Event_ID": "3"}, 4),
        ("", {"Last_Event_ID": ""}, 1),
        ("?after=0", {}, 1),
    ],
)
def test_a_reader_goes_on_where_it_was(scene: JobScene, query: str, headers: dict[str, str], first: int) -> None:
    """After the last event that it has; the header wins, which a browser sends with the old address."""
    found = read(scene, eventful(scene), query, **headers)
    assert [number for number, _, _ in found] == list(range(first, 7))


def test_a_reader_that_has_all_is_sent_away(scene: JobScene) -> None:
    """With 204, at which browsers do not connect again."""
    job = eventful(scene)
    assert scene.send("GET", f"/v1/jobs/{job}/events?after=6").status == 204
    assert scene.send("GET", f"/v1/jobs/{job}/events", Last_Event_ID="99").status == 204


@pytest.mark.parametrize(("query", "headers"), [("?after=x", {}), ("?after=-1", {}), ("", {"Last_Event_ID": "x"})])
def test_bad_numbers_are_refused(scene: JobScene, query: str, headers: dict[str, str]) -> None:
    """422: another place would lead to a gap."""
    with pytest.raises(InvalidRequest):
        scene.send("GET", f"/v1/jobs/{eventful(scene)}/events{query}", **headers)


def test_a_reader_follows_until_the_end(scene: JobScene) -> None:
    """Events that come while it reads arrive, and the end ends it."""
    job = scene.submit()
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read, scene, job)
        wait_until(lambda: "1 watched" in repr(scene.desk), "the reader")
        key = scene.claim()
        for number in range(200):
            scene.store.report(key, [ProgressReport(number)], now=scene.now).result()
        scene.finish(key)
        found = reading.result(10)
    assert [number for number, _, _ in found] == list(range(1, 204))
    assert found[-1][1] == "end"
    assert "0 watched" in repr(scene.desk)


def test_another_claim_starts_the_chunks_anew(scene: JobScene) -> None:
    """The event ``restarted`` has readers drop what they had."""
    job = scene.submit()
    key = scene.claim()
    scene.store.report(key, [ChunkReport(b"1\n")], now=scene.now).result()
    scene.store.give_back([key], now=scene.now).result()
    scene.run()
    assert [name for _, name, _ in read(scene, job)] == [
        "state",
        "state",
        "chunk",
        "state",
        "restarted",
        "state",
        "end",
    ]


def handler(scene: JobScene) -> Any:
    return next(route for route in scene.penstock_routes() if route.name == "jobs-events").handler


def request_for(job: str) -> RouteRequest:
    return RouteRequest(
        request_id="r", method="GET", path="/", header={}.get, path_values={"id": job}, principal=Principal("alice")
    )


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_job_that_is_deleted_ends_its_readers(scene: JobScene, loop: str) -> None:
    """They would wait for events that never come."""
    job = eventful(scene)

    async def work() -> list[bytes]:
        answer = await handler(scene)(request_for(job), None)
        scene.store.delete(job).result()
        return [piece async for piece in answer.stream]

    assert (trio.run(work) if loop == "trio" else asyncio.run(work())) == []


def test_a_slow_reader_costs_a_page(scene: JobScene) -> None:
    """The next events are read from the store when the last ones have been taken: as many at a time as a page has."""
    job = scene.submit()
    key = scene.claim()
    for _ in range(500):
        scene.store.report(key, [ChunkReport(b"x" * 1000)], now=scene.now).result()
    scene.finish(key)
    asked: list[int] = []
    usual = scene.store.events

    def events(job_id: str, after: int = 0, limit: int = 1000) -> Any:
        asked.append(limit)
        return usual(job_id, after, limit)

    scene.store.events = events  # type: ignore[method-assign] # to count

    async def work() -> None:
        answer = await handler(scene)(request_for(job), None)
        assert asked == []
        first = await anext(answer.stream)
        assert asked == [EVENTS_AT_ONCE]
        assert len(first) < EVENTS_AT_ONCE * 1100
        await answer.stream.aclose()

    asyncio.run(work())
    assert "0 watched" in repr(scene.desk)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b'{"x": 1}\n', [b'{"x": 1}']),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\nb\rc\n", [b"a", b"b", b"c"]),
        (b"", [b""]),
        (b"\xff\x00", [b'{"base64":"/wA="}']),
    ],
)
def test_chunks_are_lines_of_data(data: bytes, lines: list[bytes]) -> None:
    """A line break within a chunk cannot end the event; bytes that are not text are in base64."""
    event = JobEvent("j", 7, "chunk", data, 0.0)
    wanted = b"id: 7\nevent: chunk\n" + b"".join(b"data: %s\n" % line for line in lines) + b"\n"
    assert event_bytes(event, is_last=False) == wanted
