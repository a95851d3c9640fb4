"""Clients that are slow to send, slow to read, or too many: real sockets against a server with short limits."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving import ROOT, Served, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

TARGET = ROOT / "tests" / "e2e" / "apps" / "peers_app.py"
HEADER_TIMEOUT, BODY_TIMEOUT = 0.5, 0.4
SHORT = ("--header-timeout", "0.5", "--body-timeout", "0.4", "--min-body-rate", "10KiB", "--max-unread", "8MiB")
PROMPT = 2.0  # the longest time for a limit of half a second, on a busy machine
UPLOAD = b"POST /size HTTP/1.1\r\nHost: test\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n"
KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json", *SHORT) as served:
        yield served


def read_to_end(client: socket.socket) -> bytes:
    """Return what the server sends until it ends its half of the connection."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 16):
            received += piece
    return bytes(received)


def refusal(client: socket.socket, *, retry: str = "true") -> tuple[int, str]:
    """Return the status and the code of the problem document that the connection ends with."""
    head, _, body = read_to_end(client).partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert "connection: close" in lines
    assert f"x-should-retry: {retry}" in lines
    return int(lines[0].split()[1]), json.loads(body)["error"]["code"]


def post(path: str, n: int) -> bytes:
    body = json.dumps({"n": n}).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: test", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.contextmanager
def narrow(served: Served) -> Iterator[socket.socket]:
    """A client with a small receive buffer, so that little is needed to fill what lies between it and the server."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        client.settimeout(10)
        client.connect((served.host, served.port))
        yield client


def connections(served: Served) -> Any:
    return served.status()["connections"]


# ---- slow to send


@pytest.mark.parametrize("start", [b"", b"PO", b"POST /square HTTP/1.1\r\nHost: te"])
def test_a_head_that_does_not_arrive_is_a_408(served: Served, start: bytes) -> None:
    """A connection without a whole head is answered and closed at the header timeout, counted from the accept."""
    with served.connect() as client:
        began = time.monotonic()
        client.sendall(start)
        assert refusal(client) == (408, "request-timeout")
        assert HEADER_TIMEOUT <= time.monotonic() - began < PROMPT


def test_a_head_that_trickles_in_is_a_408(served: Served) -> None:
    """Progress does not extend the header timeout."""
    with served.connect() as client:
        client.settimeout(0.05)
        began = time.monotonic()
        first = b""
        for byte in b"POST /square HTTP/1.1\r\nX: " + b"x" * 1000:
            client.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                first = client.recv(1 << 16)
                break
        assert first.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < PROMPT


def test_the_next_head_is_timed_from_its_first_byte(served: Served) -> None:
    """A kept connection may be idle for longer than the header timeout, and its next head is limited again."""
    with served.connect() as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        time.sleep(2 * HEADER_TIMEOUT)  # an idle client takes real time
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"GET /livez HT")
        assert refusal(client) == (408, "request-timeout")


@pytest.mark.parametrize("sent", [0, 1, 20 * KIB, MIB])
def test_an_upload_that_stalls_is_a_408(served: Served, sent: int) -> None:
    """A body that stops advancing, however much of it has come, is refused after the body timeout."""
    with served.connect() as client:
        client.sendall(UPLOAD % (2 * MIB) + b"\r\n" + b"x" * sent)
        began = time.monotonic()
        assert refusal(client) == (408, "request-timeout")
        assert time.monotonic() - began < PROMPT


def test_an_upload_below_the_lowest_rate_is_a_408(served: Served) -> None:
    """A body that trickles in is refused, although it never stops."""
    with served.connect() as client:
        client.sendall(UPLOAD % MIB + b"\r\n")
        client.settimeout(0.02)
        first, began = b"", time.monotonic()
        while not first and time.monotonic() - began < PROMPT:
            client.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                first = client.recv(1 << 16)
        assert first.startswith(b"HTTP/1.1 408 ")


def test_an_upload_above_the_lowest_rate_is_served(served: Served) -> None:
    """A slow body that keeps to the lowest rate may take several times the body timeout."""
    with served.connect() as client:
        pieces = 30
        client.sendall(UPLOAD % (pieces * 2 * KIB) + b"\r\n")
        for _ in range(pieces):
            client.sendall(b"x" * 2 * KIB)
            time.sleep(0.04)  # a slow client takes real time
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_the_callers_deadline_bounds_its_upload(served: Served) -> None:
    """A body that keeps to the lowest rate is refused at the caller's deadline all the same."""
    with served.connect() as client:
        client.sendall(UPLOAD % (16 * MIB) + b"X-Request-Timeout: 0.3\r\n\r\n")
        client.settimeout(0.02)
        first, began = b"", time.monotonic()
        while not first and time.monotonic() - began < PROMPT:
            with contextlib.suppress(TimeoutError):
                client.sendall(b"x" * 4 * KIB)
                first = client.recv(1 << 16)
        assert first.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began >= 0.3


def test_the_deadline_counts_from_the_first_byte(served: Served) -> None:
    """The time in which the head arrived is taken from the caller's deadline."""
    with served.connect() as client:
        client.sendall(b"P")
        time.sleep(0.3)  # a slow client takes real time
        client.sendall((UPLOAD % 1)[1:] + b"X-Request-Timeout: 0.25\r\n\r\nx")
        assert refusal(client, retry="false") == (408, "request-timeout")  # retries share the deadline


# ---- too many


def limited(descriptors: int) -> Served:
    """Return a server that may open only this number of files."""
    served = Served(TARGET, "--log-format", "json", "--header-timeout", "30")
    served.command = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh", *served.command]
    return served


def test_connections_end_below_the_limit_on_descriptors() -> None:
    """With 128 descriptors, a surplus client gets a 503, workers are still started, and one line reports it."""
    with limited(128) as served, contextlib.ExitStack() as stack:
        limit = connections(served)["limit"]
        assert limit == 128 - 64 - 16
        for _ in range(limit):
            stack.enter_context(served.connect()).sendall(UPLOAD % 100 + b"\r\n")
        with served.connect() as client:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
            assert refusal(client) == (503, "unavailable")
        (worker,) = {event["pid"] for event in served.events("worker-ready")}
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: len(served.events("worker-ready")) == 2, "the new worker")
        assert wait_until(lambda: served.events("connections-full"), "the report")[0]["limit"] == limit
        stack.close()
        wait_until(lambda: served.post_json("/square", {"input": 3}).status == 200, "room")


def test_an_idle_connection_makes_room_for_another() -> None:
    """Clients that keep their connections without using them keep no other out."""
    with limited(128) as served, contextlib.ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(served.connect())
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


# ---- slow to read


@pytest.mark.parametrize("path", ["/blob", "/flood"])
def test_a_client_that_reads_nothing_loses_its_connection(served: Served, path: str) -> None:
    """A response of which nothing is read for ``idle`` seconds ends with a reset, and nothing of it is held."""
    with narrow(served) as client:
        client.sendall(post(path, 4))
        wait_until(lambda: connections(served)["unread_bytes"], "a response that is held")
        wait_until(lambda: connections(served)["open"] == 1, "the end of the connection", timeout=5)
        assert connections(served)["unread_bytes"] == 0
        assert len(read_to_end(client)) < 4 * MIB


def test_a_client_that_reads_slowly_is_served(served: Served) -> None:
    """A response may take longer than ``idle``, as long as some of it is read."""
    with narrow(served) as client:
        client.sendall(post("/blob", 4))
        began, received = time.monotonic(), b""
        while time.monotonic() - began < 1.5:
            received += client.recv(1 << 16)
            time.sleep(0.05)  # a slow client takes real time
        while len(received) < 4 * MIB:
            piece = client.recv(1 << 20)
            assert piece
            received += piece


def test_what_is_held_for_slow_readers_is_bounded(served: Served) -> None:
    """Beyond the bound readers lose their connections, first the one that has read nothing for the longest time."""
    before = connections(served)["closed"].get("too_much_unread", 0)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(narrow(served)) for _ in range(4)]
        for client in clients:
            client.sendall(post("/patient_blob", 3))
            assert client.recv(100)
            if client is clients[0]:
                time.sleep(0.4)  # the order of the others is that of the sweeps, so this one must see some alone
        wait_until(lambda: 0 < connections(served)["unread_bytes"] <= 8 * MIB, "the bound")
        received = [read_up_to(3 * MIB, client) for client in clients]
        lost = [count < 3 * MIB for count in received]
        assert lost[0]
        assert sum(lost) == connections(served)["closed"]["too_much_unread"] - before < len(clients)


def read_up_to(size_bytes: int, client: socket.socket) -> int:
    """Return the number of bytes received until there are enough, or the connection ends."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while count < size_bytes and (piece := client.recv(1 << 20)):
            count += len(piece)
    return count


def test_a_stop_does_not_wait_for_a_client_that_does_not_read() -> None:
    """SIGTERM ends the server long before the end of the drain, although a response and a stream are unread."""
    with Served(TARGET, "--log-format", "json") as served, narrow(served) as first, narrow(served) as second:
        for client, path in ((first, "/patient_blob"), (second, "/patient_flood")):
            client.sendall(post(path, 4))
            assert client.recv(100)
        began = time.monotonic()
        assert served.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 6.0
