"""A dialect of the app's own on a real server: its requests, its streams, and clients that leave in the middle."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.serving import ROOT, Served, wait_until

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "dialect_app.py"


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json", "--http-workers", request.param) as served:
        yield served
        assert not served.events("internal-error")


def ask(served: Served, model: str, value: Any, **more: Any) -> tuple[int, Any]:
    answer = served.post_json("/v1/answers", {"model": model, "input": value, **more})
    return answer.status, answer.body


def test_the_body_chooses_the_endpoint_and_the_stream(served: Served) -> None:
    """A result is one answer or a stream of one chunk; a stream is one too, or is collected."""
    assert ask(served, "square", {"input": 3}) == (200, b"[9.0]")
    assert ask(served, "square", {"input": 3}, stream=True) == (200, b"9.0\nEND\n")
    assert ask(served, "count", {"n": 3}) == (200, b"0\n1\n2\nEND\n")
    assert ask(served, "count", {"n": 3}, stream=False) == (200, b"[0,1,2]")


def test_errors_are_those_of_the_dialect(served: Served) -> None:
    """Wrong inputs, unknown endpoints, a deadline from the body, and a handler that fails."""
    assert ask(served, "square", {"input": "x"}) == (422, b'{"fault":"invalid-request"}')
    assert ask(served, "nobody", {}) == (404, b'{"fault":"not-found"}')
    assert ask(served, "count", {"n": 1, "pause": 5.0}, timeout=0.2) == (504, b'{"fault":"total-timeout"}')
    assert ask(served, "count", {"n": 1, "fails": True}, stream=False) == (500, b'{"fault":"handler-error"}')


def test_a_costly_format_is_decoded_in_the_worker(served: Served) -> None:
    """The process that decodes the body is the one that runs the handler; what it refuses is an ordinary refusal."""
    found = served.request("POST", "/v1/numbers", b"1,2,3.5")
    assert json.loads(found.body) == [{"sum": 6.5, "is_decoded_here": True}]
    large = b",".join([b"1"] * 200_000)
    assert json.loads(served.request("POST", "/v1/numbers", large).body)[0]["sum"] == 200_000
    assert served.request("POST", "/v1/numbers", b"nonsense").status == 422
    assert served.request("POST", "/v1/numbers", b"no,numbers").status == 500


def request(model: str, value: Any, **more: Any) -> bytes:
    body = json.dumps({"model": model, "input": value, **more}).encode()
    return b"POST /v1/answers HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "collected"])
def test_a_client_that_leaves_frees_its_worker(served: Served, is_streamed: bool) -> None:
    """In the middle of a stream, whether it is passed on or collected, the job is stopped at once."""
    with closing(served.connect()) as client:
        client.sendall(request("count", {"n": 1000, "pause": 0.05}, stream=is_streamed))
        if is_streamed:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
        wait_until(lambda: served.status()["endpoints"]["count"]["running"], "the job")
        client.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: not served.status()["endpoints"]["count"]["running"], "the worker to be free")


def test_a_stream_that_fails_is_cut(served: Served) -> None:
    """After the dialect's own word for it, without the mark of a whole stream."""
    with closing(served.connect(timeout=5.0)) as client:
        client.sendall(request("count", {"n": 2, "fails": True}))
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"FAULT handler-error\n" in received
    assert b"END" not in received
    assert not received.endswith(b"0\r\n\r\n")
