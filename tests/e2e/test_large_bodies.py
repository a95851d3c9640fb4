from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from penstock.scheduler.admission import DEFAULT_MAX_QUEUE_BYTES as BOUND_BYTES
from tests.serving import Answer, Served, wait_until

pytestmark = pytest.mark.e2e

BODY = bytes(15 << 20)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with Served("tests/e2e/apps/large_bodies.py:app") as served:
        yield served


def test_large_uploads_at_the_same_time_are_all_answered(server: Served) -> None:
    """Attempts known to be short do not make large bodies travel ahead, to be recalled and sent again without end."""
    for _ in range(3):  # now the handler is known to be quick
        assert server.post("/raw", BODY).json() == len(BODY)

    def upload(_: int) -> Answer:
        return server.post("/raw", BODY, headers={"X-Request-Timeout": "10"})

    began = monotonic()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(upload, range(4)))
    assert [answer.json() for answer in answers] == [len(BODY)] * 4
    assert monotonic() - began < 5.0


def test_large_results_at_the_same_time_are_all_answered(server: Served) -> None:
    """The jobs that wait behind a result that is still being written begin when it is written."""

    def fetch(size: int) -> Answer:
        return server.post_json("/blank", {"size": size})

    sizes = [15 << 20, 1, 1 << 20, 15 << 20, 7]
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(fetch, sizes))
    assert [len(answer.body) for answer in answers] == sizes


def test_uploads_that_stall_are_bounded_before_they_are_read(server: Served) -> None:
    """The announced lengths of all uploads count together; the next large one is refused, and a small one is not."""
    head = f"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    with contextlib.ExitStack() as stalled:
        for _ in range(BOUND_BYTES // len(BODY)):
            client = stalled.enter_context(server.connect())
            client.sendall(head + b"x")
        wait_until(lambda: announce(server, head) == 503, "the bound on arriving bytes")
        assert server.post("/raw", b"small").status == 200
    wait_until(lambda: server.post("/raw", BODY).status == 200, "room, now that the others have gone")


def announce(server: Served, head: bytes) -> int:
    """Return the status with which an upload is refused before its body is sent; 0 if it is not."""
    with server.connect(timeout=0.2) as client:
        client.sendall(head)
        try:
            return int(client.recv(100).split()[1])
        except TimeoutError:
            return 0
