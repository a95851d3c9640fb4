"""Background jobs over HTTP, with a real server, a real store, and the engine in the HTTP process or in its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.watching import in_background
from tests.serving import Answer, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import time
    from collections.abc import Iterator

    from penstock import App, Context, Jobs, Response

    app = App(__name__)

    @app.endpoint("/square", jobs=Jobs())
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/slow", jobs=Jobs(), concurrency=2)
    def slow(seconds: float, context: Context) -> str:
        for step in range(10):
            context.progress(step, 10, "step")
            time.sleep(seconds / 10)
        return context.job_id

    @app.endpoint("/picture", jobs=Jobs())
    def picture(size: int) -> Response:
        return Response(b"x" * size, media_type="image/png", status=201, headers={"X-Own": "1"})

    @app.endpoint("/fail", jobs=Jobs())
    def fail() -> None:
        raise ValueError("no")

    @app.endpoint("/count", jobs=Jobs())
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    @app.endpoint("/flood", jobs=Jobs())
    def flood(n: int) -> Iterator[str]:
        for _ in range(n):
            yield "x" * 100_000

    @app.endpoint("/plain")
    def plain(input: float) -> float:
        return input
"""
JSON = {"Content-Type": "application/json"}
WAYS = [(), ("--http-workers", "2")]


def serve(folder: Path, *options: str) -> Served:
    environment = {"PENSTOCK_JOBS_STORE": f"sqlite:///{folder / 'jobs.db'}"}
    return Served(write_app(folder, APP), *options, environment=environment)


@pytest.fixture(scope="module", params=WAYS, ids=["one", "shared"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("jobs"), *request.param) as served:
        yield served


def send(served: Served, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return served.request(method, path, content, headers={**JSON, **named})


def submit(served: Served, endpoint: str, **values: Any) -> str:
    answer = send(served, "POST", "/v1/jobs", {"endpoint": endpoint, "input": values})
    assert answer.status == 202, answer.body
    return str(answer.json()["id"])


def ended(served: Served, job: str) -> Any:
    return send(served, "GET", f"/v1/jobs/{job}?wait=30").json()


def test_a_job_from_its_submission_to_its_result(served: Served) -> None:
    """The document has the result, and the result is the handler's own."""
    answer = send(served, "POST", "/v1/jobs", {"endpoint": "square", "input": {"input": 3}})
    assert (answer.status, answer.json()["state"]) == (202, "queued")
    job = ended(served, answer.json()["id"])
    assert (job["state"], job["result"], job["claim"]) == ("succeeded", 9.0, 1)
    result = send(served, "GET", job["links"]["result"])
    assert (result.status, result.body, result.headers["content-type"]) == (200, b"9.0", "application/json")
    own = ended(served, submit(served, "picture", size=5))
    result = send(served, "GET", own["result_url"])
    assert (result.status, result.body, result.headers["x-own"]) == (201, b"xxxxx", "1")
    assert result.headers["content-type"] == "image/png"


def test_put_is_safe_to_repeat(served: Served) -> None:
    """From 20 connections at once there is one job; another body is refused, and not to be sent again."""
    body = {"endpoint": "square", "input": {"input": 4}}
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: send(served, "PUT", "/v1/jobs/order-17", body), range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    refused = send(served, "PUT", "/v1/jobs/order-17", {**body, "priority": "normal"})
    assert (refused.status, refused.json()["type"]) == (422, "urn:penstock:idempotency-mismatch")
    assert refused.headers["x-should-retry"] == "false"
    assert ended(served, "order-17")["result"] == 16.0


def test_a_direct_call_may_become_a_job(served: Served) -> None:
    """Within the wait it gets the endpoint's own answer; otherwise the document; without the preference no job."""
    direct = send(served, "POST", "/square", {"input": 5})
    waited = send(served, "POST", "/square", {"input": 5}, Prefer="respond-async, wait=30")
    assert (waited.status, waited.body, waited.headers["content-type"]) == (
        direct.status,
        direct.body,
        direct.headers["content-type"],
    )
    assert waited.headers["preference-applied"] == "respond-async"
    assert "preference-applied" not in direct.headers
    job = send(served, "GET", waited.headers["location"]).json()
    assert (job["endpoint"], job["state"], job["result"]) == ("square", "succeeded", 25.0)
    at_once = send(served, "POST", "/slow", {"seconds": 0.2}, Prefer="respond-async")
    assert (at_once.status, at_once.headers["location"]) == (202, at_once.json()["links"]["self"])
    described = send(served, "GET", "/openapi.json").json()["paths"]["/slow"]["post"]["responses"]["202"]
    assert {name.lower() for name in described["headers"]} <= at_once.headers.keys()
    assert ended(served, at_once.json()["id"])["result"] == at_once.json()["id"]


def test_the_error_of_a_job_is_that_of_the_endpoint(served: Served) -> None:
    """For bad input nothing is stored; a handler that fails has the same problem document as in a direct call."""
    for body in (b"{", b'{"input": "x"}'):
        direct, waited = (send(served, "POST", "/square", body, **more) for more in ({}, {"Prefer": "respond-async"}))
        assert (waited.status, waited.json()["type"]) == (direct.status, direct.json()["type"])
        assert "location" not in waited.headers
    direct = send(served, "POST", "/fail", {})
    waited = send(served, "POST", "/fail", {}, Prefer="respond-async, wait=30")
    assert (waited.status, waited.json()["type"]) == (direct.status, direct.json()["type"])
    assert waited.headers["x-should-retry"] == direct.headers["x-should-retry"]
    assert waited.headers["content-type"] == direct.headers["content-type"] == "application/problem+json"
    assert send(served, "GET", waited.headers["location"]).json()["state"] == "failed"


def test_an_endpoint_without_jobs_ignores_the_preference(served: Served) -> None:
    """And does not say that it was applied."""
    answer = send(served, "POST", "/plain", {"input": 1}, Prefer="respond-async")
    assert (answer.status, answer.json()) == (200, 1.0)
    assert not {"preference-applied", "location"} & answer.headers.keys()


def test_a_client_that_hangs_up_cancels_nothing(served: Served) -> None:
    """Its job runs to the end."""
    body = b'{"seconds": 0.3}'
    head = f"POST /slow HTTP/1.1\r\nHost: {served.host}\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\nPrefer: respond-async, wait=30\r\nX-Request-Id: gone-client\r\n\r\n"
    with contextlib.closing(served.connect()) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: named(served, "gone-client"), "the job")
    wait_until(lambda: named(served, "gone-client")[0]["state"] == "succeeded", "its end")


def named(served: Served, request_id: str) -> list[Any]:
    jobs = send(served, "GET", "/v1/jobs?endpoint=slow").json()["jobs"]
    return [job for job in jobs if job["request_id"] == request_id]


def test_a_running_job_is_cancelled(served: Served) -> None:
    """``cancelled`` once its work has stopped, which a wait is answered with."""
    job = submit(served, "slow", seconds=30)
    wait_until(lambda: send(served, "GET", f"/v1/jobs/{job}").json()["state"] == "running", "the start")
    answer = send(served, "POST", f"/v1/jobs/{job}/cancel?wait=30")
    assert (answer.status, answer.json()["state"]) == (202, "cancelled")
    again = send(served, "POST", f"/v1/jobs/{job}/cancel")
    assert (again.status, again.json()["state"]) == (200, "cancelled")
    assert send(served, "GET", f"/v1/jobs/{job}/result").json()["error"]["code"] == "cancelled"


def test_a_known_tag_waits_for_a_change(served: Served) -> None:
    """304 while there is none; no body, and the tag again."""
    job = submit(served, "slow", seconds=0.3)
    changes = 0
    tag = send(served, "GET", f"/v1/jobs/{job}").headers["etag"]
    while True:
        answer = send(served, "GET", f"/v1/jobs/{job}?wait=10", If_None_Match=tag)
        assert answer.status == 200
        assert answer.headers["etag"] != tag
        tag, changes = answer.headers["etag"], changes + 1
        if answer.json()["state"] == "succeeded":
            break
    assert changes > 1
    answer = send(served, "GET", f"/v1/jobs/{job}?wait=10", If_None_Match=tag)
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)


# ---- events


@contextlib.contextmanager
def following(served: Served, job: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/jobs/{job}/events", headers=headers)
        with contextlib.closing(connection.getresponse()) as response:
            yield response


def numbers(body: bytes) -> list[int]:
    return [int(line[4:]) for line in body.splitlines() if line.startswith(b"id: ")]


def test_events_arrive_as_they_happen(served: Served) -> None:
    """Progress, and the end, at which the server ends the response; a replay is the same, byte for byte."""
    job = submit(served, "slow", seconds=0.5)
    with following(served, job) as response:
        assert response.headers["content-type"] == "text/event-stream"
        live = response.read()
    assert b"event: progress\n" in live
    assert live.split(b"\n\n")[-2].split(b"\n")[1] == b"event: end"
    assert numbers(live) == list(range(1, len(numbers(live)) + 1))
    with following(served, job) as response:
        assert response.read() == live


def test_a_reader_that_comes_back_misses_nothing(served: Served) -> None:
    """It is cut after each event, and connects again with the number of the last."""
    job = submit(served, "slow", seconds=0.5)
    seen: list[int] = []
    while True:
        with following(served, job, **({"Last-Event-ID": str(seen[-1])} if seen else {})) as response:
            piece = b""
            while not piece.endswith(b"\n\n"):
                piece += response.read1(65536)
        seen += numbers(piece)
        if b"event: end" in piece:
            break
    assert seen == list(range(1, seen[-1] + 1))


def test_the_chunks_of_a_stream_are_events(served: Served) -> None:
    """And the lines of its result."""
    job = submit(served, "count", n=3)
    with following(served, job) as response:
        body = response.read()
    data = [block.split(b"data: ")[1] for block in body.split(b"\n\n") if b"event: chunk" in block]
    assert [json.loads(line) for line in data] == [0, 1, 2]
    assert send(served, "GET", f"/v1/jobs/{job}/result").lines() == [0, 1, 2]


def test_slow_readers_cost_no_memory(served: Served) -> None:
    """Ten that do not read 20 MB of events each; then one of them reads all of it, to the end."""
    job = submit(served, "flood", n=200)
    assert ended(served, job)["state"] == "succeeded"
    engine = int(served.status().get("engine_pid") or served.process.pid)
    before = resident_bytes(engine)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(following(served, job)) for _ in range(10)]
        for reader in readers:
            assert reader.read1(10)
        assert served.post_json("/square", {"input": 3}).json() == 9.0
        assert resident_bytes(engine) - before < 100 << 20
        assert b"\nevent: end\n" in readers[0].read()[-300:]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096


def test_readers_of_one_job_do_not_delay_the_others(served: Served) -> None:
    """Many wait and follow, and direct calls are answered meanwhile."""
    job = submit(served, "slow", seconds=0.5)
    with in_background() as begin:
        waits = [begin(send, served, "GET", f"/v1/jobs/{job}?wait=30") for _ in range(10)]
        began = time.monotonic()
        assert served.post_json("/square", {"input": 3}).json() == 9.0
        assert time.monotonic() - began < 5
        assert {wait.result(30).json()["state"] for wait in waits} == {"succeeded"}


# ---- lists, groups, operators


def test_a_group_is_listed_by_its_name(served: Served) -> None:
    """All of its jobs, in pages."""
    lines = b"".join(b'{"endpoint": "square", "input": {"input": %d}}\n' % number for number in range(5))
    answer = served.request("POST", "/v1/jobs?group=five", lines, headers={"Content-Type": "application/x-ndjson"})
    assert (answer.status, answer.json()["new"]) == (202, 5)
    found, after = [], ""
    while after is not None:
        page = send(served, "GET", f"/v1/jobs?group=five&limit=2&after={after}").json()
        found, after = found + page["jobs"], page["next_after"]
    assert sorted(job["id"] for job in found) == sorted(answer.json()["ids"])


def test_a_job_is_run_anew_and_deleted(served: Served) -> None:
    """A new job with the old request; then the old one is unknown."""
    job = submit(served, "square", input=6)
    ended(served, job)
    again = send(served, "POST", f"/v1/jobs/{job}/retry")
    assert (again.status, again.json()["retry_of"]) == (201, job)
    assert ended(served, again.json()["id"])["result"] == 36.0
    assert send(served, "DELETE", f"/v1/jobs/{job}").status == 204
    gone = send(served, "GET", f"/v1/jobs/{job}")
    assert (gone.status, gone.json()["type"]) == (404, "urn:penstock:job-not-found")
    assert gone.headers["x-should-retry"] == "false"
    assert send(served, "PATCH", f"/v1/jobs/{job}").status == 405


def test_operators_see_the_engine(served: Served) -> None:
    """It is the owner of running jobs."""
    ended(served, submit(served, "square", input=1))
    found = send(served, "GET", "/-/jobs").json()
    assert found["states"]["succeeded"] >= 1
    assert len(found["owners"]) == 1


def test_jobs_outlive_the_server(tmp_path: Path) -> None:
    """Results, events and jobs for later are there after a restart."""
    with serve(tmp_path) as served:
        job = submit(served, "square", input=7)
        ended(served, job)
        later = send(
            served, "POST", "/v1/jobs", {"endpoint": "square", "input": {"input": 8}, "not_before": time.time() + 2}
        ).json()
        assert later["state"] == "scheduled"
        assert served.stop() == 0
    with serve(tmp_path) as served:
        assert ended(served, job)["result"] == 49.0
        assert ended(served, later["id"])["result"] == 64.0
        with following(served, job) as response:
            assert b"event: end" in response.read()
