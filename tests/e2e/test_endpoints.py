from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import in_background, new_id, read_stream, wait_event, worker_pids
from tests.serving import Served

pytestmark = pytest.mark.e2e

APP = "tests/e2e/apps/endpoints.py:app"
NAP_SECONDS = 1.0
# The extra time of two naps over one: two processes are scheduled on a shared machine, and there is some HTTP.
SLACK_SECONDS = 0.5


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def served(marks: Path) -> Iterator[Served]:
    with Served(APP, "--log-format", "json", environment={FOLDER_VARIABLE: str(marks)}) as served:
        yield served


# ---- functions


def test_a_function_takes_its_parameters_from_the_body(served: Served) -> None:
    """The fields of the JSON body are the parameters, by name, and defaults fill what is left out."""
    assert served.post_json("/power", {"base": 3}).json() == 9.0
    answer = served.post_json("/power", {"exponent": 3, "base": 2})
    assert (answer.status, answer.json()) == (200, 8.0)
    assert answer.headers["content-type"] == "application/json"


def test_every_answer_has_its_id_and_its_timing(served: Served) -> None:
    """The caller's ``X-Request-Id`` comes back, and ``Server-Timing`` tells of queue and execution."""
    answer = served.post_json("/power", {"base": 3}, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    parts = [part.strip().partition(";dur=") for part in answer.headers["server-timing"].split(",")]
    assert [name for name, _, _ in parts] == ["queue", "exec"]
    assert all(float(milliseconds) >= 0 for _, _, milliseconds in parts)


def test_an_async_function_is_awaited(served: Served) -> None:
    """An ``async def`` endpoint runs on trio and answers what it returns."""
    assert served.post_json("/async-power", {"base": 4}).json() == 16.0


def test_raw_bytes_in_and_out(served: Served) -> None:
    """A ``bytes`` parameter is the raw body, and returned ``bytes`` are the body, as octets."""
    body = bytes(range(256)) * 1000
    answer = served.post("/reverse", body)
    assert answer.body == body[::-1]
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("n", [1, 100_000])
def test_an_error_that_a_handler_raises_is_the_answer(served: Served, n: int) -> None:
    """Status, code and every field arrive, for a small body and for one that only the worker decodes."""
    answer = served.post_json("/raises", {"text": "x" * n, "kind": "InvalidRequest"})
    assert (answer.status, answer.json()["error"]["param"]) == (422, "features")
    answer = served.post_json("/raises", {"text": "x" * n, "kind": "RateLimited"})
    assert (answer.status, answer.json()["error"]["code"]) == (429, "rate-limited")
    assert int(answer.headers["retry-after"]) >= 86_400
    answer = served.post_json("/raises", {"text": "x" * n, "kind": 4})
    assert (answer.status, answer.json()["error"]["param"]) == (422, "kind")


def test_a_response_is_sent_as_the_handler_made_it(served: Served) -> None:
    """Status, media type, headers and content of a returned ``Response`` are those of the answer."""
    answer = served.post("/teapot", media_type="application/json")
    assert (answer.status, answer.body) == (418, b"short and stout")
    assert answer.headers["content-type"].startswith("text/x-tea")
    assert answer.headers["x-spout"] == "left"


# ---- streams


@pytest.mark.parametrize("path", ["/count", "/async-count"])
def test_a_generator_is_a_stream_of_lines(served: Served, path: str) -> None:
    """Each value that a generator yields, sync or async, is a line of NDJSON, and the stream ends as a whole one."""
    stream = read_stream(served, path, {"n": 5})
    assert stream.headers["content-type"] == "application/x-ndjson"
    assert stream.values() == [{"token": i} for i in range(5)]
    assert stream.is_whole


@pytest.mark.parametrize("path", ["/count", "/async-count"])
def test_a_generator_is_a_stream_of_events(served: Served, path: str) -> None:
    """Asked for server-sent events, each value is the data of one, and ``event: end`` is last."""
    stream = read_stream(served, path, {"n": 2}, Accept="text/event-stream")
    assert stream.headers["content-type"].startswith("text/event-stream")
    text = "\n".join(stream.lines)
    events = [event for event in text.split("\n\n") if event.strip() and not event.startswith(":")]
    assert [event.strip() for event in events[:-1]] == ['data: {"token":0}', 'data: {"token":1}']
    assert events[-1].startswith("event: end\n")
    assert stream.is_whole


def test_an_empty_stream_is_a_whole_one(served: Served) -> None:
    """A generator that yields nothing is a 200 without a line."""
    stream = read_stream(served, "/count", {"n": 0})
    assert (stream.status, stream.lines, stream.is_whole) == (200, [], True)


def test_a_chunk_is_sent_when_it_is_yielded(served: Served, marks: Path) -> None:
    """The client has each chunk before the generator is asked for the next one."""
    names = [new_id() for _ in range(3)]
    connection = http.client.HTTPConnection(served.host, served.port, timeout=10)
    with contextlib.closing(connection):
        body = json.dumps({"names": names}).encode()
        connection.request("POST", "/count-marked", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        for name in names:
            # The generator stands still until this mark is there: a chunk that was kept back would never come.
            assert json.loads(response.readline()) == name
            (marks / name).touch()
        assert response.read() == b""


# ---- bodies


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("/struct", {"x": 1.0, "y": 2.0}, {"x": 2.0, "y": 1.0}),
        ("/struct", {"x": 1.0}, {"x": 0.0, "y": 1.0}),
        ("/dataclass", {"length": 1.5}, {"length": 3.0, "name": "unnamed"}),
        ("/typed-dict", {"title": "Alien", "year": 1979}, {"title": "ALIEN", "year": 1979}),
        ("/pydantic", {"item": "nut", "amount": 2}, {"item": "nut", "amount": 3}),
    ],
)
def test_one_structured_parameter_is_the_whole_body(served: Served, path: str, value: Any, expected: Any) -> None:
    """A struct, dataclass, TypedDict or pydantic model is read from the whole body, and written as a result."""
    answer = served.post_json(path, value)
    assert (answer.status, answer.json()) == (200, expected)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("/power", {"base": "three"}, "base"),
        ("/power", {"base": 3, "bias": 1}, "bias"),
        ("/power", {}, "base"),
        ("/struct", {"x": "one"}, "x"),
        ("/dataclass", {"length": None}, "length"),
        ("/typed-dict", {"title": "Alien", "year": "late"}, "year"),
        ("/pydantic", {"item": "nut", "amount": 0}, "amount"),
    ],
)
def test_what_does_not_fit_names_the_field(served: Served, path: str, value: Any, field: str) -> None:
    """A wrong type, a missing or unknown field, and a broken constraint are a 422 that names the field."""
    answer = served.post_json(path, value)
    assert answer.status == 422
    errors = answer.json()["errors"]
    assert any(field in error["path"] or field in error["reason"] for error in errors), errors


def test_numpy_results_are_plain_json(served: Served) -> None:
    """Scalars and arrays of numpy are written as the numbers and lists that they hold, at any depth."""
    rows = [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]
    assert served.post_json("/numpy", {"n": 3}).json() == {"sum": 3.0, "rows": rows, "any": True, "count": 3}
    assert served.post_json("/numpy-array", {"n": 3}).json() == [0, 1, 2]


# ---- classes


def test_a_class_is_one_instance_that_was_set_up(served: Served) -> None:
    """``setup`` has run before the first ``predict``, and all requests to a worker meet the same instance."""
    answers = [served.post_json("/shout", {"text": "hey"}).json() for _ in range(3)]
    assert answers == [{"text": "HEY!", "calls": calls} for calls in (1, 2, 3)]


def test_setup_and_teardown_frame_the_life_of_a_model(tmp_path: Path) -> None:
    """At SIGTERM each worker tears its model down, the instance that was set up, and then all processes end."""
    with Served("tests/e2e/apps/lifecycle.py:app", environment={FOLDER_VARIABLE: str(tmp_path)}) as served:
        (pid,) = worker_pids(served, "greet")
        assert (tmp_path / "setup").read_text() == str(pid)
        assert served.post_json("/greet", {"name": "Ada"}).json() == "Hello, Ada"
        assert not (tmp_path / "teardown").exists()
        assert served.stop() == 0
        assert (tmp_path / "teardown").read_text() == f"Hello {pid}"
        assert served.survivors() == []


def test_requests_are_gathered_into_a_batch(served: Served) -> None:
    """As many requests as a batch takes are one call of ``predict``, and each is answered with its own item."""
    with in_background() as submit:
        futures = [submit(served.post_json, "/batched", number) for number in range(4)]
        answers = [future.result() for future in futures]
    # Had the batch not been full, it would have waited for its max_wait, which is 20 seconds.
    assert [answer.json() for answer in answers] == [{"square": number**2, "size": 4} for number in range(4)]
    assert max(answer.seconds for answer in answers) < 10


def test_each_worker_has_its_device(served: Served) -> None:
    """Two ``devices`` make two workers, and the ``setup`` of each receives its own device."""
    pids = worker_pids(served, "device")
    with in_background() as submit:
        group = {"group": new_id()}
        futures = [submit(served.post_json, "/device", group) for _ in range(2)]
        answers = [future.result().json() for future in futures]
    assert sorted(answer["device"] for answer in answers) == ["cpu:0", "cpu:1"]
    assert {answer["pid"] for answer in answers} == set(pids)


# ---- pools and contexts


def test_endpoints_of_one_pool_share_its_workers(served: Served) -> None:
    """Two endpoints that name one pool, a function and an async class, are answered by the same process."""
    pids = [served.post_json(path, {}).json() for path in ("/first-pid", "/second-pid")]
    assert pids == 2 * worker_pids(served, "shared")


def test_a_context_knows_the_job(served: Served) -> None:
    """A ``Context`` parameter is injected: the request's id and headers, the attempt, and the time that is left."""
    headers = {"X-Request-Id": new_id(), "X-Color": "blue"}
    known = served.post_json("/context", {"extra": 7}, headers=headers).json()
    again = served.post_json("/context", {"extra": 7}, headers=headers).json()
    assert len({known.pop("job_id"), again.pop("job_id"), headers["X-Request-Id"]}) == 3
    remaining = known.pop("remaining")
    assert known == {
        "request_id": headers["X-Request-Id"],
        "attempt": 1,
        "color": "blue",
        "cancelled": False,
        "extra": 7,
    }
    assert 290 < remaining < 300  # left of the execution timeout, which is 300 s by default


def test_a_context_counts_the_attempts(served: Served) -> None:
    """A job whose worker died under it runs again, and its handler sees that it is the second attempt."""
    answer = served.post_json("/second-try", {})
    assert (answer.status, answer.json()) == (200, 2)


# ---- loops


def test_the_asyncio_runtime_is_asyncio(served: Served) -> None:
    """``runtime="asyncio"`` runs an ``async def`` on an asyncio loop: uvloop's where that is installed."""
    assert served.post_json("/asyncio", {}).json() in ("uvloop", "asyncio")


def test_asyncio_code_under_trio_is_told_the_mend(served: Served) -> None:
    """Code that needs asyncio fails under trio, and the log names the runtime to declare."""
    job = new_id()
    assert served.post_json("/asyncio-on-trio", {}, headers={"X-Request-Id": job}).status == 500
    assert 'runtime="asyncio"' in wait_event(served, "handler-error", job=job)["message"]


# ---- several at once


@pytest.mark.parametrize(
    ("path", "processes"), [("/nap-threads", 1), ("/nap-tasks", 1), ("/nap-asyncio", 1), ("/nap-workers", 2)]
)
def test_so_many_run_at_once_and_no_more(served: Served, path: str, processes: int) -> None:
    """Two places, be they threads, tasks or workers, run two naps in the time of one, and a third waits for a place."""
    worker_pids(served, path.removeprefix("/"))
    with in_background() as submit:
        futures = [submit(served.post_json, path, {"seconds": NAP_SECONDS}) for _ in range(3)]
        naps = sorted((future.result().json() for future in futures), key=lambda nap: nap["began"])
    first, second, third = naps
    assert max(first["ended"], second["ended"]) - first["began"] < NAP_SECONDS + SLACK_SECONDS
    assert third["began"] >= min(first["ended"], second["ended"])
    assert third["ended"] - first["began"] < 2 * NAP_SECONDS + SLACK_SECONDS
    assert len({nap["pid"] for nap in naps}) == processes
