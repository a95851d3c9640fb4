"""Requests that our server answers without ASGI, on one connection with others that take the usual way."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPResponse
from typing import Any

import pytest

from tests.serving import ROOT, WAYS, Served, wait_until

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "direct_app.py"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json") as served:
        yield served
        assert not served.events("internal-error")
        assert not [event for event in served.events() if event["event"] in ("asyncio", "gunicorn.error")]


def request(path: str, value: Any, *lines: str, version: str = "1.1") -> bytes:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = [f"POST {path} HTTP/{version}", "Host: test", "Content-Type: application/json", *lines]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


def responses(client: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Read this number of responses from a connection that stays open."""
    found = []
    with client.makefile("rb") as file:
        for _ in range(count):
            response = HTTPResponse(Unclosed(file))  # type: ignore[arg-type] # it only asks for a file
            response.begin()
            found.append((response.status, response.read()))
    return found


class Unclosed:
    """A connection whose file outlives each response."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def makefile(self, _mode: str) -> Any:
        return Reading(self._file)


class Reading:
    def __init__(self, file: Any) -> None:
        self._file = file
        self.read, self.readline, self.readinto = file.read, file.readline, file.readinto
        self.peek, self.read1 = file.peek, file.read1

    def close(self) -> None: ...

    def flush(self) -> None: ...


UNUSUAL = [f"{name}: {value}" for name, value in WAYS["asgi"].items()]
MIXED = {
    "usual": (request("/square", {"input": 3}), 200, b"9.0"),
    "by asgi": (request("/square", {"input": 4}, *UNUSUAL), 200, b"16.0"),
    "refused": (request("/square", {"input": "x"}), 422, None),
    "refused by asgi": (request("/square", b"{", *UNUSUAL), 400, None),
    "kept alive": (request("/square", {"input": 1}, "Connection: Keep-Alive"), 200, b"1.0"),
    "a stream": (request("/stream", {"n": 3}), 200, b"0\n1\n2\n"),
    "no body": (request("/empty", {}), 204, b""),
    "unknown": (request("/nowhere", {}), 404, None),
    "a route": (b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n", 200, None),
    "large": (request("/large", {"size": 300_000}), 200, b"x" * 300_000),
}


def check(found: list[tuple[int, bytes]], names: list[str]) -> None:
    for (status, body), name in zip(found, names, strict=True):
        _, expected, content = MIXED[name]
        assert status == expected, (name, body)
        assert content is None or body == content, name


def test_each_first_request_of_a_connection_is_served_directly() -> None:
    """Its bytes may be here before the connection has had a turn; only the unusual request takes the other way."""
    script = """
from penstock_falcon._asgi.asgi_app import AsgiApplication
usual = AsgiApplication.__call__
def call(self, scope, *arguments):
    print("by asgi:", scope.get("method"), scope.get("path"), flush=True)
    return usual(self, scope, *arguments)
AsgiApplication.__call__ = call
import penstock_cli.__main__
"""
    served = Served(TARGET, "--log-format", "json")
    served.command[1:3] = ["-c", script]
    with served:
        for _ in range(10):
            with served.connect() as client:
                client.sendall(MIXED["usual"][0])
                check(responses(client, 1), ["usual"])
        with served.connect() as client:
            client.sendall(MIXED["by asgi"][0])
            check(responses(client, 1), ["by asgi"])
        served.wait_for_line("by asgi: POST")
        seen = [event["message"] for event in served.events("output") if "by asgi: POST" in event["message"]]
    assert seen == ["by asgi: POST /square"]


def test_requests_of_both_ways_share_a_connection(served: Served) -> None:
    """One after the other, in an order in which each follows each."""
    names = [name for first in MIXED for second in MIXED for name in (first, second)]
    with served.connect() as client:
        for name in names:
            client.sendall(MIXED[name][0])
            check(responses(client, 1), [name])


@pytest.mark.parametrize("first", MIXED)
def test_pipelined_requests_are_answered_in_order(served: Served, first: str) -> None:
    """All sent at once; none is lost, and none overtakes another."""
    names = [first, *MIXED, "refused", "refused", "usual", first]
    with served.connect() as client:
        client.sendall(b"".join(MIXED[name][0] for name in names))
        check(responses(client, len(names)), names)


def test_a_thousand_pipelined_refusals_need_no_depth(served: Served) -> None:
    """Requests that are answered at once are served in a loop, not each within the one before."""
    count = 1000
    with served.connect() as client:
        for _ in range(10):
            client.sendall(MIXED["refused"][0] * (count // 10))
            check(responses(client, count // 10), ["refused"] * (count // 10))


def test_a_request_may_arrive_in_pieces(served: Served) -> None:
    """Byte by byte, or cut within its head, at its end, or within its body: the answer is the same."""
    whole = MIXED["usual"][0]
    end = whole.index(b"\r\n\r\n") + 4
    with served.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in (1, 20, end - 1, end, end + 1, len(whole) - 1):
            client.sendall(whole[:cut])
            time.sleep(0.02)  # so that the server reads the first piece alone
            client.sendall(whole[cut:])
            check(responses(client, 1), ["usual"])


def test_a_handler_sees_the_same_headers(served: Served) -> None:
    """By lower-case names, whichever way the request took."""
    lines = ("X-One: a", "X-TWO:  b c ", "Accept: */*")
    seen = []
    with served.connect() as client:
        for more in ((), UNUSUAL):
            client.sendall(request("/headers", {}, *lines, *more))
            ((_, body),) = responses(client, 1)
            seen.append(json.loads(body))
    assert seen[0] == seen[1]
    assert (seen[0]["x-one"], seen[0]["x-two"]) == ("a", "b c")


@pytest.mark.parametrize(
    ("lines", "version"), [(["Connection: close"], "1.1"), ([], "1.0"), (["Connection: close, x"], "1.1")]
)
def test_a_connection_is_closed_as_asked(served: Served, lines: list[str], version: str) -> None:
    """A client that asks for it, or that knows no other way, sees the end of the connection."""
    with served.connect(timeout=5.0) as client:
        client.sendall(request("/square", {"input": 3}, *lines, version=version))
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert received.startswith(f"HTTP/{version} 200 OK".encode())
    assert received.endswith(b"9.0")


def test_a_client_that_pipelines_and_does_not_read_is_held(served: Served) -> None:
    """Its next request waits until it has read; then every response arrives, and meanwhile the memory is bounded."""
    count, size = 60, 200_000
    with served.connect() as client:
        client.sendall(request("/large", {"size": size}) * count)
        wait_until(lambda: served.status()["endpoints"]["large"]["totals"].get("ok", 0) > 1, "the first responses")
        unread = served.status()["connections"]["unread_bytes"]
        assert unread < 20 * size
        assert [body for _, body in responses(client, count)] == [b"x" * size] * count


def test_an_idle_connection_is_closed_after_the_keep_alive_time() -> None:
    """As gunicorn does after a request of its own: the client sees the end, and nothing is left."""
    script = "from penstock_gunicorn import application; application.KEEPALIVE = 1; import penstock_cli.__main__"
    served = Served(TARGET, "--log-format", "json")
    served.command[1:3] = ["-c", script]
    with served, closing(served.connect(timeout=10.0)) as client:
        for _ in range(2):
            client.sendall(MIXED["usual"][0])
            check(responses(client, 1), ["usual"])
        began = time.monotonic()
        assert client.recv(1) == b""
        assert 0.5 < time.monotonic() - began < 5.0


def test_a_stream_that_is_left_frees_its_worker(served: Served) -> None:
    """A request that was handed over to the usual way is watched there."""
    with served.connect() as client:
        client.sendall(request("/stream", {"n": 1000, "pause": 0.05}))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
    with served.connect(timeout=5.0) as client:
        client.sendall(MIXED["usual"][0])
        check(responses(client, 1), ["usual"])


def test_an_answer_before_the_body_says_that_the_connection_closes(served: Served) -> None:
    """Otherwise the client would send its next request on it. One whose body is here is kept."""
    head = b"POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n"
    with served.connect() as client:
        client.sendall(head)
        received = client.recv(65536)
        assert received.startswith(b"HTTP/1.1 404 ")
        assert b"\r\nconnection: close\r\n" in received.lower()
    with served.connect() as client:
        for _ in range(2):
            client.sendall(head + b"{}")
            received = client.recv(65536)
            assert received.startswith(b"HTTP/1.1 404 ")
            assert b"connection: close" not in received.lower()


def test_a_drain_ends_kept_connections(served: Served) -> None:
    """During a stop, the response says that the connection closes, and a request that runs is still answered."""
    with Served(TARGET, "--log-format", "json") as server, server.connect(timeout=10.0) as client:
        client.sendall(request("/slow", {"seconds": 0.5}))
        wait_until(lambda: server.status()["endpoints"]["slow"]["running"], "the job")
        server.process.terminate()
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert b"\r\nconnection: close\r\n" in received.lower()
    assert received.endswith(b"0.5")
