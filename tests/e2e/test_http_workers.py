"""Several HTTP processes with one engine: one truth, and the death of one process is not that of another's requests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import assert_problem, in_background, new_id, read_stream, wait_event, wait_idle, wait_running
from tests.serving import ROOT, Answer, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "shared_app.py"
LONG = 60.0
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.fixture
def served(marks: Path, tmp_path: Path) -> Iterator[Served]:
    environment = {FOLDER_VARIABLE: str(marks), "TMPDIR": str(tmp_path)}
    with Served(TARGET, "--http-workers", "2", "--log-format", "json", environment=environment) as served:
        wait_until(lambda: len(served.status()["hosts"]) == 2, "both HTTP processes")
        yield served


@pytest.fixture
def connect(served: Served) -> Iterator[Callable[[], Kept]]:
    """Return a function that opens a kept-alive connection, which is closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.closing(Kept(served)))


def engine_pid(served: Served) -> int:
    return int(served.status()["engine_pid"])


def http_pids(served: Served) -> list[int]:
    return [int(pid) for pid in served.status()["hosts"]]


def next_engine(served: Served, last: int) -> int:
    """Wait until another engine is ready, and return its process."""

    def found() -> int:
        answer = served.get("/-/status")
        document = answer.json()
        return document["engine_pid"] if answer.status == 200 and document["ready"] else 0

    return wait_until(lambda: pid if (pid := found()) not in {0, last} else 0, "the next engine")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Kept:
    """A kept-alive connection, which stays with one HTTP process."""

    def __init__(self, served: Served) -> None:
        self._socket = served.connect()

    def send(self, path: str, value: Any) -> None:
        body = json.dumps(value).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body)

    def read(self) -> bytes:
        return self._socket.recv(65536)

    @property
    def ports(self) -> tuple[int, int]:
        """The server's port, and this one's."""
        return self._socket.getpeername()[1], self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()


def owner_of(connection: Kept, pids: list[int]) -> int:
    """Return the HTTP process that has accepted the connection."""
    server_port, port = connection.ports
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a connection that has just been closed
                if str(entry.readlink()) == f"socket:[{inode_of(server_port, port)}]":
                    return pid
    raise AssertionError(f"no process has the connection from port {port}")


def inode_of(*ports: int) -> str:
    """Return the inode of the socket with this local and this remote port."""
    for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]:
        _, local, remote, *_ = fields = line.split()
        if tuple(int(address.rpartition(":")[2], 16) for address in (local, remote)) == ports:
            return fields[9]
    return ""


def test_one_engine_answers_through_both_processes(served: Served, marks: Path, connect: Callable[[], Kept]) -> None:
    """Models are loaded once; status, metrics and queue are those of all requests, whichever process answers."""
    connections = [connect() for _ in range(16)]
    for number, connection in enumerate(connections):
        connection.send("/square", {"input": number})
        assert connection.read().endswith(str(float(number**2)).encode())
    owners = {owner_of(connection, http_pids(served)) for connection in connections}
    assert owners <= set(http_pids(served))
    assert served.status()["endpoints"]["square"]["totals"] == {"ok": 16}
    assert 'penstock_jobs_total{code="ok",endpoint="square"} 16.0' in served.get("/metrics").body.decode()
    wait_until(
        lambda: (
            'penstock_http_responses_total{endpoint="square",status="200"} 16.0' in served.get("/metrics").body.decode()
        ),
        "the responses of both processes",
    )
    assert len(list(marks.glob("setup.*"))) == 1


def test_limits_count_the_requests_of_all_processes(marks: Path) -> None:
    """A caller that is over its limit is refused by every process, before what is wrong with the request is said."""
    environment = {FOLDER_VARIABLE: str(marks), "PENSTOCK_RATELIMIT_REQUESTS": "10/minute"}
    with Served(TARGET, "--http-workers", "2", environment=environment) as served:
        answers = [served.post_json("/square", {"input": 2}) for _ in range(14)]
        assert [answer.status for answer in answers] == [200] * 10 + [429] * 4
        assert [answer.headers["ratelimit"].partition("r=")[2][0] for answer in answers[:10]] == list("9876543210")
        refused = served.post_json("/square", {"wrong": 2})
        assert (refused.status, refused.json()["error"]["code"]) == (429, "rate-limited")


def test_a_large_body_is_refused_before_it_is_read(marks: Path) -> None:
    """Room and limits are checked when a large body is announced; one that is admitted arrives whole."""
    environment = {FOLDER_VARIABLE: str(marks), "PENSTOCK_RATELIMIT_REQUESTS": "2/minute"}
    with Served(TARGET, "--http-workers", "2", environment=environment) as served:
        body = b'{"input": 3' + b" " * 1_000_000 + b"}"
        assert [served.post("/square", body, headers=JSON).body for _ in range(2)] == [b"9.0"] * 2
        with served.connect() as sock:
            sock.sendall(b"POST /square HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 429")


def test_a_stream_comes_through(served: Served) -> None:
    """Its chunks come when they are yielded, through either process."""
    stream = read_stream(served, "/tick", {"n": 5, "seconds": 0.02})
    assert (stream.values(), stream.is_whole) == ([0, 1, 2, 3, 4], True)
    assert stream.arrivals[-1] - stream.arrivals[0] > 0.06


def test_an_http_process_dies(served: Served, marks: Path, connect: Callable[[], Kept]) -> None:
    """Its jobs are cancelled, other clients notice nothing, and another process takes its place."""
    name = new_id()
    first, pids = connect(), http_pids(served)
    first.send("/wait", {"name": name, "seconds": LONG})
    wait_running(served, "wait")
    victim = owner_of(first, pids)
    others = [connect() for _ in range(8)]
    for connection in others:
        connection.send("/square", {"input": 2})
        connection.read()
    beside = [connection for connection in others if owner_of(connection, pids) != victim]
    os.kill(victim, signal.SIGKILL)
    wait_running(served, "wait", 0)
    wait_idle(served, "wait")
    for connection in beside:
        connection.send("/square", {"input": 3})
        assert connection.read().endswith(b"9.0")
    wait_until(lambda: len(set(http_pids(served)) - {victim}) == 2, "its successor")
    assert len(list(marks.glob(f"{name}.*"))) == 1


def test_the_engine_dies(served: Served, marks: Path) -> None:
    """Jobs that may run again do so on the next engine; the others fail; service resumes by itself."""
    again, once = new_id(), new_id()
    engine = engine_pid(served)
    with in_background() as start:
        first = start(served.post_json, "/wait", {"name": again, "seconds": 1.0})
        second = start(served.post_json, "/once", {"name": once, "seconds": LONG})
        wait_until(lambda: list(marks.glob(f"{again}.*")) and list(marks.glob(f"{once}.*")), "both to run")
        os.kill(engine, signal.SIGKILL)
        failed: Answer = second.result(timeout=30)
        assert_problem(failed, "worker-lost", 503, retry=False)
        assert first.result(timeout=30).status == 200
    assert len(list(marks.glob(f"{again}.*"))) == 2
    assert len(list(marks.glob(f"{once}.*"))) == 1
    next_engine(served, engine)
    assert served.post_json("/square", {"input": 3}).body == b"9.0"
    assert wait_event(served, "engine-lost")["engine_pid"] == engine


def test_requests_while_there_is_no_engine(served: Served) -> None:
    """They are refused at once with ``not-ready``. The process is alive, and ready again when the next engine is."""
    engine = engine_pid(served)
    os.kill(served.process.pid, signal.SIGSTOP)  # the master starts no other engine meanwhile
    try:
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: served.get("/readyz").status == 503, "the processes to notice")
        assert_problem(served.post_json("/square", {"input": 3}), "not-ready", 503, retry=True)
        assert_problem(served.get("/-/status"), "not-ready", 503, retry=True)
        assert served.get("/livez").status == 200
    finally:
        os.kill(served.process.pid, signal.SIGCONT)
    next_engine(served, engine)
    assert served.post_json("/square", {"input": 3}).status == 200


def test_a_stream_is_cut_when_the_engine_dies(served: Served) -> None:
    """It ends with an error, and not like a whole one. One that has not begun would run again, and be whole."""
    engine = engine_pid(served)

    def kill_engine() -> None:
        os.kill(engine, signal.SIGKILL)

    found = read_stream(served, "/tick", {"n": 1000, "seconds": 0.01}, on_first_line=kill_engine)
    assert not found.is_whole
    assert json.loads(found.lines[-1])["error"]["code"] == "worker-lost"


def test_a_hang_up_frees_the_slot(served: Served) -> None:
    """Through another process too, the work of a client that has gone is stopped."""
    connection = Kept(served)
    connection.send("/wait", {"name": new_id(), "seconds": LONG})
    wait_running(served, "wait")
    connection.close()
    wait_running(served, "wait", 0)
    wait_idle(served, "wait")


def test_a_stop_finishes_what_runs_and_leaves_nothing(served: Served, tmp_path: Path) -> None:
    """The engine ends last: an admitted job is answered. No process, and no socket, is left."""
    with in_background() as start:
        answer = start(served.post_json, "/wait", {"name": new_id(), "seconds": 0.5})
        wait_running(served, "wait")
        assert served.stop() == 0
        assert answer.result(timeout=10).status == 200
    assert served.survivors() == []
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("penstock-")]
    assert served.events("shutdown")[0]["finished"] >= 0


def test_what_comes_during_a_stop_is_refused_until_all_processes_have_drained(served: Served) -> None:
    """A process that has nothing to finish goes on and refuses, so that no connection waits for the other one."""
    with in_background() as start:
        answer = start(served.post_json, "/wait", {"name": new_id(), "seconds": 3.0})
        wait_running(served, "wait")
        served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: served.get("/readyz").status == 503, "the drain")
        for _ in range(30):
            refused = served.post_json("/wait", {"name": new_id(), "seconds": 0.0}, timeout=2)
            assert (refused.status, refused.json()["error"]["code"]) == (503, "draining")
        assert answer.result(timeout=10).status == 200
    assert served.wait() == 0


def test_a_signal_to_all_processes_at_once(served: Served) -> None:
    """A terminal, or a service manager, signals the whole group: the engine still waits for the HTTP processes."""
    with in_background() as start:
        answer = start(served.post_json, "/wait", {"name": new_id(), "seconds": 0.5})
        wait_running(served, "wait")
        os.killpg(served.process.pid, signal.SIGTERM)
        assert served.wait() == 0
        assert answer.result(timeout=10).status == 200


def test_the_socket_is_private(served: Served, tmp_path: Path) -> None:
    """It lies in a folder that only its user can enter."""
    (folder,) = [
        path for path in tmp_path.iterdir() if path.name.startswith("penstock-") and (path / "engine").exists()
    ]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_master_dies(served: Served) -> None:
    """Nothing is left running without its master."""
    processes = served.survivors()
    os.kill(served.process.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, processes)), "all processes to end", timeout=20)


def test_an_app_that_cannot_be_loaded(tmp_path: Path) -> None:
    """The server ends with the same code as one with a single HTTP process, and says why."""
    target = write_app(tmp_path, "raise RuntimeError('no weights')")
    with Served(target, "--http-workers", "2", "--log-format", "json", ready_timeout=None) as served:
        assert served.wait() == 2
        assert "RuntimeError: no weights" in served.output()


def test_a_model_that_cannot_be_set_up(tmp_path: Path) -> None:
    """A pool that never becomes ready ends the server with exit code 3."""
    source = """
        from penstock import App

        app = App(__name__)

        @app.endpoint("/x")
        class Broken:
            def setup(self) -> None:
                raise RuntimeError("no weights")

            def predict(self, x: int) -> int:
                return x
        """
    with Served(write_app(tmp_path, source), "--http-workers", "2", ready_timeout=None) as served:
        assert served.wait() == 3
        assert "no weights" in served.output()


def test_an_app_that_has_changed_since_the_engine_loaded_it(tmp_path: Path) -> None:
    """An HTTP process with other code than the engine's does not serve; the log says what to do."""
    source = """
        from penstock import App

        app = App(__name__)

        @app.endpoint("/one")
        def one() -> int:
            return 1
        """
    target = write_app(tmp_path, source)
    with Served(target, "--http-workers", "2", "--log-format", "json") as served:
        wait_until(lambda: len(served.status()["hosts"]) == 2, "both HTTP processes")
        victim = http_pids(served)[0]
        write_app(tmp_path, source.replace("return 1", "return 2"))
        os.kill(victim, signal.SIGKILL)
        assert "reload the server" in wait_event(served, "app-changed")["message"]
        assert served.post_json("/one", {}).body == b"1"


def test_a_folder_for_the_socket_that_is_too_long(tmp_path: Path) -> None:
    """The path of a socket is limited: the error says so, and nothing is left behind."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with Served(TARGET, "--http-workers", "2", environment={"TMPDIR": str(folder)}, ready_timeout=None) as served:
        assert served.wait() == 2
        assert "set TMPDIR to a folder with a shorter path" in served.output()
    assert not list(folder.iterdir())
