"""Bodies of many megabytes, in and out: they are passed on in files, which are closed whatever happens."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from time import monotonic

import pytest

from penstock.scheduler.admission import DEFAULT_MAX_QUEUE_BYTES as BOUND_BYTES
from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import in_background, wait_idle, worker_pids
from tests.serving import WAYS, Answer, Served, wait_until

pytestmark = pytest.mark.e2e

BODY = bytes(15 << 20)


APP = "tests/e2e/apps/large_bodies.py:app"
DISTINCT = random.Random(1).randbytes(8 << 20)  # every piece differs from the others
MODES = ("inline", "thread", "trio", "asyncio", "batch")
HEAD = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def server(marks: Path) -> Iterator[Served]:
    with Served(APP, environment={FOLDER_VARIABLE: str(marks)}) as served:
        yield served


@pytest.fixture(scope="module")
def spilling(marks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that writes all large uploads to a disk."""
    folder = tmp_path_factory.mktemp("spilled")
    environment = {FOLDER_VARIABLE: str(marks), "TMPDIR": str(folder)}
    with Served(APP, "--spill-above", "2MiB", environment=environment) as served:
        yield served
        assert [path for path in folder.iterdir() if path.name.startswith("penstock-body")] == []


@pytest.fixture(params=["server", "spilling"])
def either(request: pytest.FixtureRequest) -> Served:
    served: Served = request.getfixturevalue(request.param)
    return served


def files_of_bodies(served: Served) -> list[str]:
    """Return the open files of bodies in the processes of the server."""
    links = chain.from_iterable(_links(pid) for pid in served.survivors())
    return [target for target in links if "penstock-body" in target]


def _links(pid: int) -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(str(path.readlink()))
    return found


def assert_all_closed(served: Served) -> None:
    wait_until(lambda: not files_of_bodies(served), "the closing of all files of bodies")


def post_in_chunks(served: Served, path: str, body: bytes) -> bytes:
    """Send a body without its length; return that of the answer."""
    connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
    with contextlib.closing(connection):
        pieces = (body[start : start + 300_000] for start in range(0, len(body), 300_000))
        connection.request("POST", path, pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        return connection.getresponse().read()


@pytest.mark.parametrize("mode", MODES)
def test_a_large_body_comes_back_as_it_was_sent(either: Served, mode: str) -> None:
    """In every mode, with a length and without, from memory and from a disk; all files are closed then."""
    assert either.post(f"/{mode}", DISTINCT).body == DISTINCT
    assert post_in_chunks(either, f"/{mode}", DISTINCT) == DISTINCT
    assert_all_closed(either)


@pytest.mark.parametrize("way", WAYS)
def test_a_small_request_may_have_a_large_result(server: Served, way: str) -> None:
    """The response says its length, and the connection is kept."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    with contextlib.closing(connection):
        for size in (5 << 20, 10, 5 << 20):
            headers = {"Content-Type": "application/json", **WAYS[way]}
            connection.request("POST", "/blank", json.dumps({"size": size}), headers)
            response = connection.getresponse()
            assert response.getheader("content-length") == str(size)
            assert response.getheader("server-timing")
            assert response.read() == bytes(size)


def test_large_json_is_passed_in_a_file_too(server: Served) -> None:
    """The worker decodes and encodes it."""
    text = "ab" * (2 << 20)
    assert server.post_json("/json", {"text": text}).json() == text + "1"
    assert server.post("/json", b'{"text": ' + b"1" * (2 << 20), media_type="application/json").status == 422
    assert_all_closed(server)


def test_a_batch_has_large_and_small_members(server: Served) -> None:
    """Each gets its own result."""
    bodies = [DISTINCT, b"small", DISTINCT[: 3 << 20], b""]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda body: server.post("/batch", body).body, bodies))
    assert answers == bodies


def test_a_job_that_has_killed_its_worker_gets_the_same_body_again(either: Served, marks: Path) -> None:
    """The next worker reads the same file."""
    (marks / "died").unlink(missing_ok=True)
    assert either.post("/digest", DISTINCT).json()["sha256"] == hashlib.sha256(DISTINCT).hexdigest()
    assert (marks / "died").exists()
    assert_all_closed(either)


def test_a_worker_that_is_killed_with_a_body_leaves_no_file(server: Served, marks: Path) -> None:
    """Nor does the attempt that follows, which loses its worker too."""
    (marks / "held").unlink(missing_ok=True)
    with in_background() as run:
        answer = run(server.post, "/hold", DISTINCT)
        for _ in range(2):
            wait_until((marks / "held").exists, "the attempt")
            (pid,) = worker_pids(server, "frail")
            (marks / "held").unlink()
            os.kill(pid, signal.SIGKILL)
        assert answer.result(timeout=20).status == 503
    assert_all_closed(server)


def test_a_worker_without_descriptors_is_replaced(server: Served) -> None:
    """It cannot receive the body, which the next worker can."""
    (before,) = worker_pids(server, "frail")
    assert server.post_json("/hoard", {}).status == 200
    answer = server.post("/digest", DISTINCT)
    assert answer.json()["sha256"] == hashlib.sha256(DISTINCT).hexdigest()
    assert answer.json()["pid"] != before
    assert "cannot receive the body of a request" in server.output()


@pytest.mark.parametrize("mode", ["inline", "trio", "asyncio"])
def test_a_worker_without_memory_for_the_body_fails_that_job_alone(server: Served, mode: str) -> None:
    """It goes on with the next one."""
    pid = server.post(f"/starved-{mode}", b"first").json()
    answer = server.post(f"/starved-{mode}", bytes(12 << 20))
    assert (answer.status, answer.json()["error"]["code"]) == (500, "handler-error")
    assert server.post(f"/starved-{mode}", b"last").json() == pid
    assert_all_closed(server)


def test_a_client_that_leaves_amid_its_upload_leaves_no_file(either: Served) -> None:
    """Its bytes are counted no longer, either."""
    for _ in range(3):
        with either.connect() as client:
            client.sendall(HEAD % (b"/raw", len(DISTINCT)) + DISTINCT[: 5 << 20])
            wait_until(lambda: files_of_bodies(either), "the file of the upload")
        assert_all_closed(either)
    assert either.post("/raw", BODY).json() == len(BODY)


def test_a_client_that_leaves_amid_its_download_leaves_no_file(server: Served) -> None:
    """Nor does one that leaves while its job runs."""
    with server.connect() as client:
        client.sendall(HEAD % (b"/inline", len(DISTINCT)) + DISTINCT)
        assert client.recv(100_000).startswith(b"HTTP/1.1 200")
    assert_all_closed(server)
    with server.connect() as client:
        client.sendall(HEAD % (b"/hold", len(DISTINCT)) + DISTINCT)
        wait_until(lambda: files_of_bodies(server), "the file of the upload")
    assert_all_closed(server)
    wait_idle(server, "frail")


def test_an_upload_that_is_late_or_too_large_leaves_no_file(server: Served) -> None:
    """It is refused in the middle."""
    with server.connect() as client:
        head = HEAD.replace(b"Host", b"X-Request-Timeout: 0.3\r\nHost") % (b"/raw", len(DISTINCT))
        client.sendall(head + DISTINCT[: 4 << 20])
        assert client.recv(100).startswith(b"HTTP/1.1 408")
    assert b"payload-too-large" in post_in_chunks(server, "/raw", bytes(17 << 20))
    assert_all_closed(server)


def test_a_slow_reader_of_a_large_result_holds_no_other_up(server: Served) -> None:
    """It reads its response later, and gets all of it."""
    with server.connect() as client:
        client.sendall(HEAD % (b"/inline", len(DISTINCT)) + DISTINCT)
        wait_idle(server, "inline")
        assert server.post("/inline", b"quick").body == b"quick"
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.read() == DISTINCT


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


def test_the_operator_bounds_the_uploads_that_arrive_together() -> None:
    """With ``--max-waiting``: the second one is refused, until the first has gone."""
    head = HEAD % (b"/raw", len(BODY))
    with Served(APP, "--max-waiting", "20MiB") as served:
        with served.connect() as client:
            client.sendall(head + b"x")
            wait_until(lambda: announce(served, head) == 503, "the bound on arriving bytes")
        wait_until(lambda: served.post("/raw", BODY).status == 200, "room, now that the other has gone")


def announce(server: Served, head: bytes) -> int:
    """Return the status with which an upload is refused before its body is sent; 0 if it is not."""
    with server.connect(timeout=0.2) as client:
        client.sendall(head)
        try:
            return int(client.recv(100).split()[1])
        except TimeoutError:
            return 0
