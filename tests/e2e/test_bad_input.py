"""Bad input, through the real server: a problem document with the right status, and nothing else happens."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.watching import wait_event
from tests.serving import HOST, WAYS, Answer, Served, wait_until

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "apps" / "bad_input_app.py"
MAX_BODY = 1 << 20
# Larger bodies are looked at by the worker.
LOOKED_AT_BY_WORKER = 70_000
PROMPT = 2.0  # seconds that "at once" may take on a busy machine; nothing here has a timeout that short
JSON = {"Content-Type": "application/json"}
INVALID, TOO_LARGE = "invalid-request", "payload-too-large"
HEAD = b"POST /square HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
RAW_HEAD = b"POST /raw HTTP/1.1\r\nHost: test\r\n"
# Endpoints that get bad input only, so that no job of theirs may ever be admitted.
REFUSING = ("square", "person", "raw")


def pid_of(server: Served) -> int:
    return server.status()["pools"]["default"]["workers"][0]["pid"]


def admitted(server: Served, endpoint: str) -> int:
    """Return how many jobs of an endpoint there have been."""
    lane = server.status()["endpoints"][endpoint]
    return lane["queued"] + lane["running"] + sum(lane["totals"].values())


@pytest.fixture(scope="module", params=list(WAYS))
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    """One server for all: whatever they send it, at the end its one worker is the first it had."""
    with Served(APP, "--max-body", "1MiB", "--log-format", "json") as served:
        served.extra_headers = WAYS[request.param]
        pid = pid_of(served)
        yield served
        assert pid_of(served) == pid
        assert [admitted(served, name) for name in REFUSING] == [0, 0, 0]
        assert not served.events("internal-error")
        assert not [event for event in served.events() if event["event"] in ("asyncio", "gunicorn.error")]


def assert_refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Check the problem document of a request that is at fault, and the headers that go with it."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["server-timing"] == "queue;dur=0.00, exec;dur=0.00"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:penstock:{code}"
    assert document["status"] == status
    assert document["instance"] == answer.headers["x-request-id"] != ""
    assert document["title"]
    assert document["error"] == {
        "message": document["detail"],
        "type": "invalid_request_error",
        "code": code,
        "param": document["error"]["param"],
    }
    return document


# ---- bodies


def person(name: bytes = b'"a"', age: bytes = b"1") -> bytes:
    return b'{"name":' + name + b',"age":' + age + b"}"


BODIES = {
    "nothing": ("/square", b"", 400),
    "not JSON": ("/square", b"input=1", 400),
    "cut short": ("/square", b'{"input": 1', 400),
    "something behind": ("/square", b'{"input": 1} {}', 400),
    "a NUL behind": ("/square", b'{"input": 1}\0', 400),
    "a byte order mark": ("/square", b'\xef\xbb\xbf{"input": 1}', 400),
    "UTF-16": ("/square", '{"input": 1}'.encode("utf-16"), 400),
    "NaN": ("/square", b'{"input": NaN}', 400),
    "minus infinity": ("/square", b'{"input": -Infinity}', 400),
    "a float out of range": ("/square", b'{"input": 1e999}', 422),
    "an int out of a float's range": ("/square", b'{"input": 1' + b"0" * 400 + b"}", 422),
    "an int of 5000 digits": ("/person", person(age=b"1" * 5000), 422),
    "bytes that are not UTF-8": ("/person", person(name=b'"\xff\xfe"'), 400),
    "half a surrogate pair": ("/person", person(name=rb'"\ud800"'), 400),
    "deep arrays": ("/person", person(age=b"[" * 20_000 + b"]" * 20_000), 400),
    "deep objects": ("/square", b'{"i":' * 10_500 + b"1" + b"}" * 10_500, 400),
    "deep and open": ("/square", b"[" * 50_000, 400),
    "an array": ("/square", b"[1]", 422),
    "null": ("/square", b"null", 422),
    "a wrong type": ("/square", b'{"input": "1"}', 422),
    "a wrong type inside": ("/person", b'{"name": "a", "age": 1, "tags": ["x", 5]}', 422),
    "a missing field": ("/person", b'{"name": "a"}', 422),
    "an unknown field": ("/square", b'{"input": 1, "inputs": 2}', 422),
    "a float for an int": ("/person", person(age=b"1.5"), 422),
    "true for a number": ("/square", b'{"input": true}', 422),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused_with_its_reason(server: Served, name: str) -> None:
    """A body that is not JSON is a 400, and one that does not fit the schema a 422; ``errors`` lists where and why."""
    path, body, status = BODIES[name]
    document = assert_refused(server.post(path, body, headers=JSON), status, INVALID)
    assert document["errors"]
    assert all(error["path"].startswith("$") and error["reason"] for error in document["errors"])


@pytest.mark.parametrize(
    ("path", "body", "at", "param"),
    [
        ("/square", {"input": "1"}, "$.input", "input"),
        ("/square", {"input": 1, "inputs": 2}, "$.inputs", "inputs"),
        ("/person", {"name": "a"}, "$.age", "age"),
        ("/person", {"name": "a", "age": 1, "tags": ["x", 5]}, "$.tags[1]", "tags"),
    ],
)
def test_the_field_is_named(server: Served, path: str, body: Any, at: str, param: str) -> None:
    """``errors`` has the path of the field that is wrong, missing or unknown; ``error.param`` its name."""
    document = assert_refused(server.post_json(path, body), 422, INVALID)
    assert [error["path"] for error in document["errors"]] == [at]
    assert document["error"]["param"].startswith(param)


LONG = json.dumps({"text": "x" * LOOKED_AT_BY_WORKER, "count": 2}).encode()
LONG_BODIES = {
    "a wrong type": (LONG.replace(b'"count": 2', b'"count": "two"'), 422),
    "a missing field": (LONG.replace(b', "count": 2', b""), 422),
    "an unknown field": (LONG.replace(b"count", b"c\\u00f6unt"), 422),
    "not JSON": (LONG + b"}", 400),
    "deep": (b"[" * LOOKED_AT_BY_WORKER, 400),
    "bytes that are not UTF-8": (LONG.replace(b"xxxx", b"xx\xffx"), 400),
    "NaN": (LONG.replace(b'"count": 2', b'"count": NaN'), 400),
}


@pytest.mark.parametrize("name", LONG_BODIES)
def test_a_long_body_gets_the_same_answer_from_the_worker(server: Served, name: str) -> None:
    """Above 64 KiB a body is checked where it would run: the answer is no other, but for the time that it took."""
    body, status = LONG_BODIES[name]
    answer = server.post("/long", body, headers=JSON)
    timing = answer.headers["server-timing"]
    answer.headers["server-timing"] = "queue;dur=0.00, exec;dur=0.00"
    assert_refused(answer, status, INVALID)
    assert timing.startswith("queue;dur=")
    assert json.loads(server.post("/long", LONG, headers=JSON).body) == 2 * LOOKED_AT_BY_WORKER


# ---- requests


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_a_wrong_method_is_a_405_with_the_right_one(server: Served, method: str) -> None:
    """Any method but POST, known to HTTP or not, is refused with ``Allow``."""
    answer = server.request(method, "/square")
    assert answer.headers["allow"] == "POST"
    if method == "HEAD":
        assert (answer.status, answer.body) == (405, b"")
    else:
        assert_refused(answer, 405, "method-not-allowed")


@pytest.mark.parametrize("path", ["/", "/squares", "/square/", "/Square", "/square/1", "/%00", "/..%2f", "/%ff%fe"])
def test_an_unknown_path_is_a_404(server: Served, path: str) -> None:
    """Paths are exact; whatever else is asked for is a 404 of the same form."""
    assert_refused(server.post(path, b'{"input": 1}', headers=JSON), 404, "not-found")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Content-Encoding": "br"},
    ],
)
def test_a_wrong_content_type_is_a_415(server: Served, headers: dict[str, str]) -> None:
    """A JSON endpoint reads JSON, compressed in a way that the server reads, or not at all."""
    assert_refused(server.post("/square", b'{"input": 1}', headers=headers), 415, "unsupported-media-type")


def test_the_callers_id_is_in_the_answer(server: Served) -> None:
    """A sane ``X-Request-Id`` comes back as header and ``instance``, also with a refusal."""
    answer = server.post("/square", b"", headers={**JSON, "X-Request-Id": "call-7"})
    assert assert_refused(answer, 400, INVALID)["instance"] == "call-7"


# ---- sizes


def test_a_body_may_be_as_large_as_allowed(server: Served) -> None:
    """``--max-body`` bytes are taken, to the last."""
    answer = server.post("/large", b"x" * MAX_BODY)
    assert (answer.status, answer.json()) == (200, MAX_BODY)


@pytest.mark.parametrize("size", [MAX_BODY + 1, 16 * MAX_BODY])
def test_a_client_that_sends_too_much_reads_its_413(server: Served, size: int) -> None:
    """The answer reaches even a client that reads nothing before it has sent everything."""
    document = assert_refused(server.post("/raw", b"x" * size), 413, TOO_LARGE)
    assert str(MAX_BODY) in document["detail"]


def read_answer(client: socket.socket, started: float) -> Answer:
    with contextlib.closing(http.client.HTTPResponse(client)) as response:
        response.begin()
        body = response.read()
    names = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, names, body, time.monotonic() - started)


def exchange(server: Served, request: bytes, *, half_close: bool = False) -> Answer:
    """Send these bytes, and read the answer and then the end of the connection."""
    started = time.monotonic()
    with server.connect(timeout=10) as client:
        client.sendall(request)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        answer = read_answer(client, started)
        assert client.recv(1) == b"", "the connection must not be used again"
    return answer


@pytest.mark.timed
@pytest.mark.parametrize("length", [b"1048577", b"9" * 30])
def test_too_large_is_refused_at_the_header(server: Served, length: bytes) -> None:
    """The 413 comes before a single byte of the body has been sent."""
    answer = exchange(server, RAW_HEAD + b"Content-Length: " + length + b"\r\n\r\n")
    assert_refused(answer, 413, TOO_LARGE)
    assert answer.seconds < PROMPT


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(server: Served) -> None:
    """Without a Content-Length the limit is kept all the same, while the body still comes."""
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = exchange(server, RAW_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 17)
    assert_refused(answer, 413, TOO_LARGE)


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (RAW_HEAD + b"Content-Length: 9999999\r\n", 413, TOO_LARGE),
        (HEAD.replace(b"application/json", b"text/plain") + b"Content-Length: 9\r\n", 415, "unsupported-media-type"),
        (HEAD.replace(b"/square", b"/nowhere") + b"Content-Length: 9\r\n", 404, "not-found"),
    ],
)
def test_a_client_that_asks_first_is_refused_instead(server: Served, head: bytes, status: int, code: str) -> None:
    """With ``Expect: 100-continue`` the refusal comes in place of the 100."""
    assert_refused(exchange(server, head + b"Expect: 100-continue\r\n\r\n"), status, code)


def test_a_client_that_asks_first_is_told_to_go_on(server: Served) -> None:
    """A body that will be looked at is asked for, and then looked at."""
    with server.connect(timeout=10) as client:
        client.sendall(HEAD + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"[]")
        assert_refused(read_answer(client, time.monotonic()), 422, INVALID)


# ---- what is broken below HTTP's own level

CHUNKED = RAW_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "no number": (HEAD + b"Content-Length: abc\r\n\r\n{}", 400),
    "a negative length": (HEAD + b"Content-Length: -2\r\n\r\n{}", 400),
    "a signed length": (HEAD + b"Content-Length: +2\r\n\r\n{}", 400),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", 400),
    "a length of 5000 digits": (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    "a chunk of no size": (CHUNKED + b"zz\r\nxx\r\n0\r\n\r\n", 400),
    "a length and chunks": (CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n") + b"0\r\n\r\n", 400),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "an unknown version": (b"POST /square HTTP/9.9\r\nHost: test\r\n\r\n", 400),
    "a space in a name": (b"POST /square HTTP/1.1\r\nHost : test\r\n\r\n", 400),
    "no host": (HEAD.replace(b"Host: test\r\n", b"Connection: close\r\n") + b"Content-Length: 2\r\n\r\n{}", 400),
    "a malformed host": (HEAD.replace(b": test", b": a/b\r\nConnection: close") + b"Content-Length: 2\r\n\r\n{}", 400),
    "an endless line": (b"POST /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414),
    "an endless header": (HEAD + b"X-Long: " + b"x" * 20_000 + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_request_that_cannot_be_parsed_is_a_problem_too(server: Served, name: str) -> None:
    """A request that cannot be parsed gets an error in the same format, and the connection is closed."""
    request, status = BROKEN[name]
    assert_refused(exchange(server, request), status, INVALID if status == 400 else "http-error")


@pytest.mark.parametrize(
    "request_", [HEAD + b'Content-Length: 100\r\n\r\n{"input": 1}', CHUNKED + b"20\r\nnot all of it"]
)
def test_an_upload_that_is_cut_short_is_a_400(server: Served, request_: bytes) -> None:
    """A client that stops sending halfway and still reads gets a 400; half a body never becomes a job."""
    assert_refused(exchange(server, request_, half_close=True), 400, INVALID)


def test_a_client_that_leaves_in_the_middle_of_its_upload_leaves_nothing(server: Served) -> None:
    """Neither a job nor a connection remains of it."""
    for request in (HEAD + b"Content-Length: 100\r\n\r\n{", CHUNKED + b"20\r\nnot all of it", HEAD):
        with server.connect() as client:
            client.sendall(request)
    (http_pid,) = {event["pid"] for event in server.events("listening")}
    wait_until(lambda: open_connections(http_pid) <= 1, "the connections' end")


def open_connections(pid: int) -> int:
    """The process's sockets in the state ESTABLISHED or half closed, the one that was asked with included."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(entry.readlink().name.removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    listening = "0A"
    return sum(row[9] in inodes and row[3] != listening for row in rows)


# ---- anything at all

texts = st.text(max_size=8)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
people = st.fixed_dictionaries({"name": anything, "age": anything}, optional={"tags": anything})
BODIES_AT_RANDOM = st.one_of(st.binary(max_size=64), (anything | people).map(lambda v: json.dumps(v).encode()))


@pytest.fixture(scope="module")
def post_fuzz(server: Served) -> Iterator[Callable[[bytes], tuple[int, str]]]:
    """Give a function that posts to an endpoint over one kept-alive connection."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=10)
    with contextlib.closing(connection):

        def post(body: bytes) -> tuple[int, str]:
            connection.request("POST", "/fuzzed", body, {**JSON, **server.extra_headers})
            response = connection.getresponse()
            response.read()
            return response.status, response.headers["content-type"]

        yield post


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES_AT_RANDOM)
def test_whatever_is_sent_is_no_fault_of_the_servers(
    post_fuzz: Callable[[bytes], tuple[int, str]], body: bytes
) -> None:
    """Any bytes, and any JSON, are a result or a refusal: never a 5xx, and the connection goes on."""
    status, media_type = post_fuzz(body)
    assert (status, media_type) in {
        (200, "application/json"),
        (400, "application/problem+json"),
        (422, "application/problem+json"),
    }


# ---- results

UNENCODABLE = {
    "object": "bad_input_app.Opaque at $.x",
    "set": "bad_input_app.Opaque",
    "recursion": "contains itself",
    "array": "numpy.ndarray of dtype object",
    "complex": "complex",
    "key": "keys of type tuple",
    "deep": "nested too deeply",
}


@pytest.mark.parametrize("kind", UNENCODABLE)
def test_a_result_that_cannot_be_sent_says_which_type(server: Served, kind: str) -> None:
    """It is a handler-error whose detail names the type and the place, for the client and in the log."""
    answer = server.post_json("/unencodable", {"kind": kind}, headers={"X-Request-Id": f"unencodable-{kind}"})
    document = answer.json()
    assert (answer.status, document["type"]) == (500, "urn:penstock:handler-error")
    assert UNENCODABLE[kind] in document["detail"]
    event = wait_event(server, "handler-error", request_id=f"unencodable-{kind}")
    assert UNENCODABLE[kind] in event["message"]
    assert "File" not in event["traceback"]
