"""The contract under other servers, and beside other frameworks: what every one of them keeps, and what differs.

Each difference is a finding, compared with the committed one. The table in ``docs/how-to/mounting.md`` shows them.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.hosting import HOSTS, PREFIX, Host, Hosted, report
from tests.e2e.watching import in_background, read_stream
from tests.serving import wait_until

pytestmark = pytest.mark.e2e

LARGE_BYTES = 8 << 20
HANGUP_SECONDS = 2.0  # after this long, a hang-up counts as unnoticed
JSON = {"Content-Type": "application/json"}


def _as_parameter(host: Host) -> object:
    return pytest.param(host, id=str(host), marks=[] if host.is_quick else [pytest.mark.thorough])


@pytest.fixture(scope="module", params=[_as_parameter(host) for host in HOSTS])
def hosted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    host: Host = request.param
    if host.is_missing:
        pytest.skip(f"{host.name} is not installed here")
    with Hosted(host, tmp_path_factory.mktemp("marks")) as served:
        yield served


# ---- the same everywhere


def test_the_health_pages_answer(hosted: Hosted) -> None:
    """Liveness, readiness and status, under the prefix of the endpoints."""
    assert hosted.get(f"{hosted.prefix}/livez").json() == {"status": "ok"}
    assert hosted.get(f"{hosted.prefix}/readyz").json() == {"status": "ready"}
    assert hosted.get(f"{hosted.prefix}/-/status").json()["pools"].keys() == {"default", "holding"}


def test_a_call_has_its_result_and_its_request_id(hosted: Hosted) -> None:
    """The client's own id comes back; without one, each request has another."""
    answer = hosted.ask("/square", {"input": 3.0}, headers={"X-Request-Id": "mine-1"})
    assert (answer.status, answer.json(), answer.headers["x-request-id"]) == (200, 9.0, "mine-1")
    assert answer.headers["server-timing"].startswith("queue;dur=")
    ids = {hosted.ask("/square", {"input": 1.0}).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2


def test_bad_requests_are_problem_documents(hosted: Hosted) -> None:
    """Bad input is a 422, an unknown path a 404, and a wrong method a 405 that names the right one."""
    wrong = hosted.ask("/square", {"input": "x"})
    assert (wrong.status, wrong.json()["errors"][0]["path"]) == (422, "$.input")
    unknown = hosted.ask("/nothing", {})
    assert (unknown.status, unknown.json()["type"]) == (404, "urn:penstock:not-found")
    method = hosted.get(f"{hosted.prefix}/square")
    assert (method.status, method.json()["type"]) == (405, "urn:penstock:method-not-allowed")
    assert "POST" in method.headers["allow"]
    for answer in (wrong, unknown, method):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["instance"] == answer.headers["x-request-id"]


def test_head_has_no_body(hosted: Hosted) -> None:
    """HEAD is for health checks that read only the status."""
    answer = hosted.request("HEAD", f"{hosted.prefix}/livez")
    assert (answer.status, answer.body) == (200, b"")


def test_large_bodies_pass_whole(hosted: Hosted) -> None:
    """In and out; one over the limit is refused."""
    body = bytes(range(256)) * (LARGE_BYTES // 256)
    answer = hosted.post(f"{hosted.prefix}/digest", body)
    assert (answer.status, answer.json()) == (200, hashlib.sha256(body).hexdigest())
    assert hosted.ask("/zeros", {"size": LARGE_BYTES}).body == bytes(LARGE_BYTES)
    head = f"POST {hosted.prefix}/digest HTTP/1.1\r\nHost: test\r\nContent-Type: application/octet-stream\r\n"
    with hosted.connect() as client:
        client.sendall(head.encode() + b"Content-Length: 100000000\r\n\r\n")
        assert client.recv(4096).split(b" ", 2)[1] == b"413"


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
def test_a_stream_comes_chunk_by_chunk(hosted: Hosted, accept: str) -> None:
    """As NDJSON and as server-sent events; the first chunk does not wait for the last."""
    stream = read_stream(hosted, f"{hosted.prefix}/count", {"n": 5, "pause": 0.05}, Accept=accept)
    values = [line.removeprefix("data: ") for line in stream.lines if line.removeprefix("data: ").isdigit()]
    assert stream.is_whole
    assert stream.headers["content-type"].startswith(accept)
    assert values == list("01234")
    assert stream.arrivals[-1] - stream.arrivals[0] > 0.1


def test_a_route_reads_waits_and_streams(hosted: Hosted) -> None:
    """Its handler runs on the loop of the engine, in the loop or beside the threads of the server."""
    assert hosted.request("PUT", f"{hosted.prefix}/relay/a", b"b").body == b"ab"
    connection = http.client.HTTPConnection(hosted.host, hosted.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", f"{hosted.prefix}/drip")
        response = connection.getresponse()
        began = time.monotonic()
        assert response.read1(100) == b"0\n"
        assert response.read() == b"1\n2\n"
        assert time.monotonic() - began > 0.05


def test_a_connection_carries_many_requests(hosted: Hosted) -> None:
    """Calls and streams in turn, if the server keeps connections at all."""
    connection = http.client.HTTPConnection(hosted.host, hosted.port, timeout=10)
    kept = True
    with contextlib.closing(connection):
        for path, value in [("/square", {"input": 2.0}), ("/count", {"n": 3}), ("/square", {"input": 3.0})]:
            connection.request("POST", hosted.prefix + path, json.dumps(value), JSON)
            response = connection.getresponse()
            assert response.status == 200
            response.read()
            kept = kept and not response.will_close
    report(hosted.way, "keeps connections", "yes" if kept else "no")


def test_a_client_may_speak_http_1_0(hosted: Hosted) -> None:
    """Its response ends with the connection; it cannot read the chunk lengths of HTTP/1.1."""
    with hosted.connect() as client:
        client.sendall(hosted.raw("/count", {"n": 3}, version="1.0"))
        response = b"".join(iter(lambda: client.recv(65536), b""))
    assert response.split(b" ", 2)[1] == b"200"
    is_plain = response.endswith(b"\r\n\r\n0\n1\n2\n")
    report(hosted.way, "stream to HTTP/1.0", "plain" if is_plain else "chunked, which such clients cannot read")


def test_the_other_framework_keeps_its_routes(hosted: Hosted) -> None:
    """A mount takes the paths under its prefix, and no others."""
    if not hosted.way.hello:
        assert hosted.get("/hello").json()["type"] == "urn:penstock:not-found"
        return
    assert hosted.get("/hello").json() == {"hello": hosted.way.hello}
    unknown = hosted.get("/nowhere")
    assert (unknown.status, "problem+json" in unknown.headers["content-type"]) == (404, False)


# ---- what differs


def test_a_prefix_of_the_server_is_removed(hosted: Hosted) -> None:
    """The proxy in front may have left it in the path, or may have removed it."""
    if "--root-path" not in hosted.way.words:
        pytest.skip("it has no such option, or a framework has the prefix")
    assert hosted.post_json("/square", {"input": 3.0}).json() == 9.0
    both = hosted.post_json(f"{PREFIX}/square", {"input": 3.0}).status == 200
    report(hosted.way, "root path", "kept or removed" if both else "removed by the proxy")


def _lines_of_a_failed_stream(hosted: Hosted) -> list[object]:
    try:
        stream = read_stream(hosted, f"{hosted.prefix}/fail", {"n": 3})
    except http.client.RemoteDisconnected:
        assert hosted.way.drops_unsent
        return []
    assert not stream.is_whole
    return [value if isinstance(value, int) else value["error"]["code"] for value in stream.values()]


def test_a_stream_that_fails_is_cut_short(hosted: Hosted) -> None:
    """The client gets the error as a last line, and an end that it cannot take for a whole stream."""
    whole = [0, 1, 2, "handler-error"]
    lines = _lines_of_a_failed_stream(hosted)
    assert lines == (whole[: len(lines)] if hosted.way.drops_unsent else whole)
    shows = "StreamCutShort" in hosted.output()  # and not only the handler's own error
    report(hosted.way, "failed stream", "cut off, at times early" if hosted.way.drops_unsent else "cut off")
    report(hosted.way, "failed stream in the log", "the server's traceback too" if shows else "the error")


def _stopped_after(hosted: Hosted, path: str, *, until: str) -> float | None:
    """Return the milliseconds between the end of a client and that of its work; None if the server did not notice.

    The client leaves when its job has begun (``until`` "began"), or with the first chunk ("chunk").
    """
    name = path.strip("/")
    with hosted.connect() as client:
        client.sendall(hosted.raw(path, {"name": name}))
        if until == "began":
            wait_until((hosted.marks / f"{name}-began").exists, "the job's start")
            time.sleep(0.1)  # so that the client leaves a server that is waiting
        else:
            while not client.recv(65536).endswith(b"0\n\r\n"):
                pass
        left = time.monotonic()
    stopped: Path = hosted.marks / f"{name}-stopped"
    try:
        wait_until(stopped.exists, "the end of the work", timeout=HANGUP_SECONDS)
    except AssertionError:
        return None
    return (float(stopped.read_text(encoding="utf-8")) - left) * 1000


@pytest.mark.parametrize(
    ("question", "path", "until"),
    [
        ("hang-up while waiting", "/hold", "began"),
        ("hang-up in a silent stream", "/stall", "chunk"),
        ("hang-up in a busy stream", "/flow", "chunk"),
    ],
)
def test_work_ends_when_its_client_hangs_up(hosted: Hosted, question: str, path: str, until: str) -> None:
    """As far as the server lets the application know; none of it leaves a traceback."""
    before = hosted.output().count("Traceback")
    milliseconds = _stopped_after(hosted, path, until=until)
    report(hosted.way, question, "unnoticed" if milliseconds is None else "stops the work", milliseconds)
    assert hosted.output().count("Traceback") == before


def test_a_client_that_leaves_its_upload_leaves_nothing(hosted: Hosted) -> None:
    """No job is started for half a body, and the next request is served."""
    before = hosted.get(f"{hosted.prefix}/-/status").json()["endpoints"]["digest"]
    head = f"POST {hosted.prefix}/digest HTTP/1.1\r\nHost: test\r\nContent-Type: application/octet-stream\r\n"
    with hosted.connect() as client:
        client.sendall(head.encode() + b"Content-Length: 1000000\r\n\r\n" + bytes(300_000))

    assert hosted.ask("/square", {"input": 3.0}).json() == 9.0
    after = hosted.get(f"{hosted.prefix}/-/status").json()["endpoints"]["digest"]
    assert (after["running"], after["queued"]) == (0, 0)
    assert after.get("admitted") == before.get("admitted")


def test_a_request_in_progress_outlives_sigterm(hosted: Hosted) -> None:
    """Last, as it ends the server: the request is answered, and no process is left."""
    with in_background() as call:
        answer = call(hosted.ask, "/pause", {"seconds": 1.0, "name": "last"})
        wait_until((hosted.marks / "last-began").exists, "the job's start")
        code = hosted.stop(signal.SIGTERM, timeout=20)
        finding = "finishes requests" if not answer.exception() and answer.result().status == 200 else "drops requests"
    wait_until(lambda: hosted.survivors() == [], "the end of every process")
    assert code in (0, -signal.SIGTERM)
    report(hosted.way, "SIGTERM", finding)
