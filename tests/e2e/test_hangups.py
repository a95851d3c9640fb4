"""Clients that go away, at every moment at which they can, and in every way that TCP knows."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import new_id, wait_event, wait_idle, worker_pid
from tests.serving import ROOT, WAYS, Served, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

# Far less than the work that is stopped and than its grace, both of which are a minute; the machine is shared.
SOON_SECONDS = 2.0
IDLE = 1.5  # the idle timeout of /flood_impatient
CHUNK_BYTES = 1 << 16
SLOW_BYTES = 1 << 13  # every 20 ms: 400 KB per second, of a stream that is produced a thousand times faster
WINDOW_BYTES = 1 << 20
# An upper limit for what the kernel and the server's writer hold as well. An unbounded flood exceeds it at once.
BUFFERS_BYTES = 8 << 20


# ---- the ways to leave


def close(client: socket.socket) -> None:
    """A FIN, and a reset for whatever is sent after it: how most clients leave."""
    client.close()


def reset(client: socket.socket) -> None:
    """A RST at once: how a killed container's network leaves."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def half_close(client: socket.socket) -> None:
    """A FIN from a client that says it still reads: to this server it has gone, as to most."""
    client.shutdown(socket.SHUT_WR)


EXTRA_LINES: list[str] = []  # header lines that make each request take its way through the server
Leaving = Callable[[socket.socket], None]
Work = tuple[str, str]  # an endpoint, and its pool
every_way = pytest.mark.parametrize("leave", [close, reset, half_close])
waiting_work = pytest.mark.parametrize(
    "work", [("sleep", "default"), ("loop", "default"), ("rest", "trio"), ("rest_asyncio", "asyncio")]
)
streaming_work = pytest.mark.parametrize("work", [("tokens", "default"), ("tokens_async", "trio")])


# ---- the server and what is asked of it


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module", params=list(WAYS))
def served(request: pytest.FixtureRequest, marks: Path) -> Iterator[Served]:
    target = ROOT / "tests" / "e2e" / "apps" / "hangups_app.py"
    with Served(target, "--log-format", "json", environment={FOLDER_VARIABLE: str(marks)}) as served:
        served.extra_headers = WAYS[request.param]
        EXTRA_LINES[:] = [f"{name}: {value}" for name, value in served.extra_headers.items()]
        yield served


@pytest.fixture
def name(served: Served) -> Iterator[str]:
    """A name for the marks of one test, which leaves the server without work."""
    yield new_id()
    for pool in served.status()["pools"]:
        wait_idle(served, pool)


def head(path: str, length: int) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", "Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, *EXTRA_LINES, "", ""]).encode()


def post(client: socket.socket, path: str, value: Any) -> None:
    """Send a whole request, and read nothing."""
    body = json.dumps(value).encode()
    client.sendall(head(path, len(body)) + body)


def read_until(client: socket.socket, text: bytes) -> None:
    """Read until the text has come."""
    seen = b""
    while text not in seen:
        piece = client.recv(4096)
        assert piece, f"the end came after {seen!r}"
        seen += piece


def wait_mark(marks: Path, name: str, timeout: float = 10.0) -> str:
    """Wait for the mark and return its text."""
    wait_until((marks / name).exists, f"the mark {name}", timeout=timeout)
    return (marks / name).read_text(encoding="utf-8")


def tokens(marks: Path, name: str) -> int:
    """Return how many tokens have been generated."""
    return (marks / f"{name}.tokens").stat().st_size


def totals(served: Served, endpoint: str) -> dict[str, int]:
    """Return the number of jobs of the endpoint by outcome."""
    found: dict[str, int] = served.status()["endpoints"][endpoint]["totals"]
    return found


def ask_again(served: Served, pool: str, pid: int) -> None:
    """Check that the pool has the worker that it had, with nothing left in it, and that it serves."""
    wait_idle(served, pool)
    assert worker_pid(served, pool) == pid
    if pool == "default":
        assert served.post_json("/square", {"input": 3.0}, timeout=SOON_SECONDS).json() == 9.0


# ---- rules


@every_way
def test_who_leaves_the_queue_never_reaches_a_worker(served: Served, marks: Path, name: str, leave: Leaving) -> None:
    """The job of a client that goes away while it is queued is never started."""
    before = totals(served, "loop").get("cancelled", 0)
    with served.connect() as holder, served.connect() as client:
        post(holder, "/sleep", {"name": f"{name}.holder"})
        wait_mark(marks, f"{name}.holder.began")
        post(client, "/loop", {"name": name})
        wait_until(lambda: served.status()["endpoints"]["loop"]["queued"] == 1, "the job to be queued")
        leave(client)
        wait_until(lambda: served.status()["endpoints"]["loop"]["queued"] == 0, "an empty queue", timeout=SOON_SECONDS)
        assert not (marks / f"{name}.holder.stopped").exists()  # it was not the worker's being free that emptied it
    assert served.post_json("/square", {"input": 2.0}).status == 200  # the worker has had its chance
    assert not (marks / f"{name}.began").exists()
    assert totals(served, "loop")["cancelled"] == before + 1


@every_way
@waiting_work
def test_who_stops_waiting_stops_the_work(served: Served, marks: Path, name: str, work: Work, leave: Leaving) -> None:
    """The work of a client that goes away while it waits is interrupted; the same worker serves the next one."""
    endpoint, pool = work
    pid = worker_pid(served, pool)
    with served.connect() as client:
        post(client, f"/{endpoint}", {"name": name})
        wait_mark(marks, f"{name}.began")
        leave(client)
        stopped_by = wait_mark(marks, f"{name}.stopped", SOON_SECONDS)
    assert stopped_by in {"Interrupted", "Cancelled", "CancelledError"}
    ask_again(served, pool, pid)
    assert not (marks / f"{name}.ended").exists()


@every_way
@streaming_work
def test_who_stops_reading_a_stream_stops_its_generator(
    served: Served, marks: Path, name: str, work: Work, leave: Leaving
) -> None:
    """Generation ends when the client of a stream goes away, and the generator's ``finally`` block has run."""
    endpoint, pool = work
    pid = worker_pid(served, pool)
    with served.connect() as client:
        post(client, f"/{endpoint}", {"name": name})
        read_until(client, b"token")
        leave(client)
        wait_mark(marks, f"{name}.stopped", SOON_SECONDS)
        generated = tokens(marks, name)
    ask_again(served, pool, pid)
    assert tokens(marks, name) == generated


@every_way
def test_a_kept_connection_is_watched_as_well(served: Served, marks: Path, name: str, leave: Leaving) -> None:
    """The second request on a connection is given up when the client goes away, like the first."""
    pid = worker_pid(served, "default")
    connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
    headers = {"Content-Type": "application/json", **served.extra_headers}
    connection.request("POST", "/square", b'{"input": 2.0}', headers)
    assert connection.getresponse().read() == b"4.0"
    assert connection.sock is not None, "the server did not keep the connection"
    with connection.sock as client:
        post(client, "/sleep", {"name": name})
        wait_mark(marks, f"{name}.began")
        leave(client)
        wait_mark(marks, f"{name}.stopped", SOON_SECONDS)
    ask_again(served, "default", pid)


def test_a_kept_connection_survives_its_streams(served: Served, marks: Path, name: str) -> None:
    """A stream that is given up ends its own connection, and another client's kept connection goes on."""
    kept = http.client.HTTPConnection(served.host, served.port, timeout=30)
    headers = {"Content-Type": "application/json", **served.extra_headers}
    for number in range(3):
        with served.connect() as client:
            post(client, "/tokens", {"name": f"{name}.{number}"})
            read_until(client, b"token")
        kept.request("POST", "/square", json.dumps({"input": number}).encode(), headers)
        assert json.loads(kept.getresponse().read()) == number**2
        wait_mark(marks, f"{name}.{number}.stopped", SOON_SECONDS)
    kept.close()


def test_a_half_closed_connection_is_ended_without_an_answer(served: Served, marks: Path, name: str) -> None:
    """A client that closes its sending side has left: the connection ends without a response, not with half of one."""
    with served.connect(timeout=SOON_SECONDS) as client:
        post(client, "/sleep", {"name": name})
        wait_mark(marks, f"{name}.began")
        half_close(client)
        assert client.recv(1) == b""


@contextlib.contextmanager
def unread_flood(served: Served, marks: Path, name: str, endpoint: str) -> Iterator[socket.socket]:
    """Have a stream whose client reads no further, until its window is full and the generator blocked."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK_BYTES)
    with client:
        client.settimeout(10)
        client.connect((served.host, served.port))
        post(client, f"/{endpoint}", {"name": name})
        read_until(client, b"xxx")
        wait_until(lambda: tokens(marks, name) * CHUNK_BYTES >= WINDOW_BYTES, "a full window")
        yield client


def test_a_client_that_does_not_read_is_given_up(served: Served, marks: Path, name: str) -> None:
    """The generator blocks once the window is full, and ``idle`` later its work is stopped, and the worker free."""
    pid = worker_pid(served, "default")
    before = totals(served, "flood_impatient").get("cancelled", 0)
    with unread_flood(served, marks, name, "flood_impatient"):
        wait_mark(marks, f"{name}.stopped")
        assert tokens(marks, name) * CHUNK_BYTES < WINDOW_BYTES + BUFFERS_BYTES
        event = wait_event(served, "interrupt", endpoint="flood_impatient", why="unread")
        assert event["running_seconds"] >= IDLE
        ask_again(served, "default", pid)
    assert totals(served, "flood_impatient")["cancelled"] == before + 1


@pytest.mark.parametrize("leave", [close, reset])
def test_a_client_that_leaves_a_blocked_stream_frees_its_worker(
    served: Served, marks: Path, name: str, leave: Leaving
) -> None:
    """A client that goes away while the server cannot write to it is noticed as soon as any other."""
    pid = worker_pid(served, "default")
    with unread_flood(served, marks, name, "flood") as client:
        leave(client)
        wait_mark(marks, f"{name}.stopped", SOON_SECONDS)
    ask_again(served, "default", pid)


def test_a_client_that_reads_slowly_is_served(served: Served, marks: Path, name: str) -> None:
    """A reader that is far slower than the generator, but goes on reading, keeps its stream beyond ``idle``."""
    with unread_flood(served, marks, name, "flood_impatient") as client:
        ends_at = time.monotonic() + 3 * IDLE
        while time.monotonic() < ends_at:
            assert client.recv(SLOW_BYTES), "the stream was cut"
            time.sleep(0.02)  # this is the rule: slow, and never silent
        assert not (marks / f"{name}.stopped").exists()
    wait_mark(marks, f"{name}.stopped", SOON_SECONDS)


@every_way
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_broken_upload_submits_nothing(served: Served, marks: Path, name: str, framing: str, leave: Leaving) -> None:
    """A client that goes away in the middle of its upload never becomes a job."""
    before = served.status()["endpoints"]["upload"]
    part = b"a" * 1000
    with served.connect() as client:
        if framing == "length":
            client.sendall(head("/upload", 2 * len(part)).replace(b"json", b"octet-stream") + part)
        else:
            opening = b"POST /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.sendall(opening + b"%x\r\n%b\r\n" % (len(part), part))
        port = client.getsockname()[1]
        leave(client)
        wait_until(lambda: not has_open_end(served.port, port), "the server to close", timeout=SOON_SECONDS)
    assert served.post("/upload", b"whole").json() == len(b"whole")  # whatever had been queued has run by now
    after = served.status()["endpoints"]["upload"]
    assert after["totals"] == {"ok": before["totals"].get("ok", 0) + 1}
    assert {path.name for path in marks.glob("uploaded.*")} == {"uploaded.5"}


def has_open_end(server_port: int, client_port: int) -> bool:
    """Return whether the server still holds its end of the connection: open, or half closed by the client."""
    established, close_wait = "01", "08"
    for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        ports = (int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16))
        if ports == (server_port, client_port) and state in (established, close_wait):
            return True
    return False
