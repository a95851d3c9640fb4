"""Under other servers than our own, alone and mounted: the same answers, deadlines, hang-ups and ends."""

from __future__ import annotations

import importlib.util
import json
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import assert_problem, read_stream
from tests.serving import HOST, Answer, Served, wait_until

pytestmark = pytest.mark.e2e

MODULE = "tests.e2e.apps.mounting_app"
PROMPT = 2.0  # seconds that an answer at a deadline of 0.3 s may take on a busy machine


@dataclass(frozen=True)
class Way:
    """One way to be served."""

    server: str
    application: str

    def __str__(self) -> str:
        return f"{self.server.replace(' ', '-')}-{self.application}"

    @property
    def is_mounted(self) -> bool:
        return "mounted" in self.application

    @property
    def reports_hangups(self) -> bool:
        """False if the server shows the application neither its client's socket nor the end of the connection."""
        return (self.server, self.application) != ("granian", "wsgi")

    def command(self, port: int) -> list[str]:
        target = f"{MODULE}:{self.application}"
        if self.server == "uvicorn":
            return ["-m", "uvicorn", target, "--host", HOST, "--port", str(port), "--log-level", "warning"]
        if self.server == "granian":
            interface = self.application.partition("_")[0]
            options = ["--interface", interface, "--log-level", "warning"]
            return ["-m", "granian", target, "--host", HOST, "--port", str(port), *options]
        worker = self.server.split()[1]
        threads = ["--threads", "4"] if worker == "gthread" else []
        bind = ["--bind", f"{HOST}:{port}", "--no-control-socket"]
        return ["-m", "gunicorn", "--worker-class", worker, *threads, *bind, target]


WAYS = [
    Way("gunicorn asgi", "asgi"),
    Way("gunicorn asgi", "asgi_mounted"),
    Way("gunicorn asgi", "asgi_mounted_plain"),
    Way("uvicorn", "asgi"),
    Way("uvicorn", "asgi_mounted"),
    Way("uvicorn", "asgi_mounted_by_a_framework"),
    Way("granian", "asgi"),
    Way("granian", "asgi_mounted_by_a_framework"),
    Way("granian", "wsgi"),
    Way("gunicorn gthread", "wsgi"),
    Way("gunicorn gthread", "wsgi_mounted"),
    Way("gunicorn sync", "wsgi"),
]


class Hosted(Served):
    """An application of ``apps/mounting_app.py`` under a server that is not ours."""

    def __init__(self, way: Way, marks: Path) -> None:
        limits = {"PENSTOCK_RATELIMIT_ENDPOINTS": '{"limited": {"requests": ["2/minute"]}}'}
        super().__init__("", environment={FOLDER_VARIABLE: str(marks), **limits})
        self.way = way
        self.marks = marks
        self.prefix = "/models" if way.is_mounted else ""
        self.command = [sys.executable, *way.command(self.port)]

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"{self!r} ended early with exit code {self.process.returncode}"
        try:
            return self.get(f"{self.prefix}/readyz", timeout=5.0).status == 200
        except OSError:
            return False

    def ask(self, path: str, value: object) -> Answer:
        return self.post_json(self.prefix + path, value)


@pytest.fixture(scope="module", params=WAYS, ids=str)
def hosted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    way: Way = request.param
    if importlib.util.find_spec(way.server.split()[0]) is None:
        pytest.skip(f"{way.server} is not installed here")
    with Hosted(way, tmp_path_factory.mktemp("marks")) as served:
        yield served
        # Every server must end in the same way: on SIGTERM, with its exit code, and no process left.
        assert served.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
        wait_until(lambda: served.survivors() == [], "the end of every process")


def test_a_large_body_comes_back_as_it_was_sent(hosted: Hosted) -> None:
    """It is passed to the worker and back in files, whatever the server is; the response says its length."""
    body = random.Random(2).randbytes(5 << 20)
    answer = hosted.post(f"{hosted.prefix}/echo", body)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-length"] == str(len(body))


def test_an_endpoint_answers(hosted: Hosted) -> None:
    """With the result, the request id and the timing."""
    answer = hosted.ask("/square", {"input": 3.0})
    assert (answer.status, answer.json()) == (200, 9.0)
    assert answer.headers["x-request-id"]
    assert answer.headers["server-timing"].startswith("queue;dur=")


def test_bad_input_is_a_problem_document(hosted: Hosted) -> None:
    """As under our own server."""
    answer = hosted.ask("/square", {"input": "x"})
    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["errors"] == [{"path": "$.input", "reason": answer.json()["errors"][0]["reason"]}]


def test_a_stream_comes_whole(hosted: Hosted) -> None:
    """Every chunk, and a clean end."""
    stream = read_stream(hosted, f"{hosted.prefix}/count", {"n": 100})
    assert (stream.values(), stream.is_whole) == (list(range(100)), True)


@pytest.mark.timed
def test_a_deadline_is_kept(hosted: Hosted) -> None:
    """The client has its 504 at the deadline."""
    answer = hosted.ask("/late", {})
    assert_problem(answer, "execution-timeout", 504, retry=False)
    assert 0.3 <= answer.seconds < PROMPT


def test_policies_hold(hosted: Hosted) -> None:
    """Plug-ins are asked, whatever the server: a limit, with its fields, and a caller's deadline."""
    answers = [hosted.ask("/limited", {}) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit"].startswith('"endpoint";r=1;')
    assert answers[2].json()["error"]["code"] == "rate-limited"
    assert int(answers[2].headers["retry-after"]) >= 1
    hurried = hosted.post_json(f"{hosted.prefix}/late", {}, headers={"X-Request-Timeout": "0.1"})
    assert_problem(hurried, "total-timeout", 504, retry=False)


def test_observers_see_and_routes_are_served(hosted: Hosted) -> None:
    """Beside the endpoints, under the same prefix; each request is counted when it is over."""
    hosted.ask("/square", {"input": "nothing that fits"})

    def is_counted() -> bool:
        page = hosted.get(f"{hosted.prefix}/metrics").body.decode()
        return 'penstock_http_responses_total{endpoint="square",status="422"}' in page

    wait_until(is_counted, "the count of a 422")


def test_a_client_that_hangs_up_stops_its_work(hosted: Hosted) -> None:
    """The handler learns of it, whichever server has noticed it."""
    if not hosted.way.reports_hangups:
        pytest.skip("granian does not let a WSGI application notice")
    body = json.dumps({}).encode()
    head = f"POST {hosted.prefix}/hold HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    with hosted.connect() as client:
        client.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_until((hosted.marks / "started").exists, "the job's start")
    wait_until((hosted.marks / "interrupted").exists, "the interrupt")


def test_a_client_that_leaves_a_stream_leaves_no_traceback(hosted: Hosted) -> None:
    """It is an everyday event, and not an error of the application."""
    body = json.dumps({"n": 10**9}).encode()
    head = f"POST {hosted.prefix}/count HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    with hosted.connect() as client:
        client.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert client.recv(1)

    def has_stopped() -> bool:
        endpoints = hosted.get(f"{hosted.prefix}/-/status").json()["endpoints"]
        return endpoints["count"]["running"] == 0

    wait_until(has_stopped, "the end of the stream")
    assert "Traceback" not in hosted.output()


@pytest.mark.parametrize(
    ("path", "body", "answer"), [("/square", {"input": 3.0}, b"9.0"), ("/count", {"n": 3}, b"2\n")]
)
def test_a_client_may_speak_http_1_0(hosted: Hosted, path: str, body: dict[str, float], answer: bytes) -> None:
    """Its response ends with the connection, and it need not send a Host header."""
    content = json.dumps(body).encode()
    head = f"POST {hosted.prefix}{path} HTTP/1.0\r\nContent-Type: application/json\r\n"
    with hosted.connect() as client:
        client.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(content) + content)
        response = b"".join(iter(lambda: client.recv(65536), b""))
    assert response.split(b" ", 2)[1] == b"200"
    assert answer in response.partition(b"\r\n\r\n")[2]


def test_the_host_keeps_its_own_routes(hosted: Hosted) -> None:
    """Mounting endpoints changes neither the host's own routes nor its answers for unknown paths."""
    if not hosted.way.is_mounted:
        assert hosted.get("/hello").json()["type"] == "urn:penstock:not-found"
        return
    assert hosted.get("/hello").json() == {"hello": "falcon"}
    unknown = hosted.get("/nowhere")
    assert unknown.status == 404
    assert "problem+json" not in unknown.headers.get("content-type", "")


def test_the_operators_pages_are_there(hosted: Hosted) -> None:
    """Under the same prefix as the endpoints."""
    assert hosted.get(f"{hosted.prefix}/livez").json() == {"status": "ok"}
    status = hosted.get(f"{hosted.prefix}/-/status").json()
    assert status["pools"].keys() == {"default", "holding"}
