"""Generation loops in a real server: many clients share a loop, and none is disturbed by another."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import (
    Streamed,
    assert_problem,
    in_background,
    new_id,
    read_stream,
    wait_event,
    wait_idle,
    wait_running,
    worker_pid,
)
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

LOOPS = ["plain", "plain-asyncio", "trio", "asyncio"]
SLOTS = 4
LONG = 100_000
WINDOWS = 6 << 20
"""More than what a stream's window and all sockets between the worker and a client hold."""


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def served(marks: Path) -> Iterator[Served]:
    environment = {FOLDER_VARIABLE: str(marks)}
    target = "tests/e2e/apps/generation_app.py:app"
    with Served(target, "--log-format", "json", environment=environment) as served:
        yield served


class Client:
    """A client that reads one line after the other, when the test asks for it."""

    def __init__(self, served: Served, loop: str, *, timeout: str = "", **order: object) -> None:
        self.id = new_id()
        self._connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
        headers = {"Content-Type": "application/json", "X-Request-Id": self.id}
        headers |= {"X-Request-Timeout": timeout} if timeout else {}
        self._connection.request("POST", f"/{loop}", json.dumps({"n": LONG, **order}).encode(), headers)
        self._response: http.client.HTTPResponse | None = None

    def next(self) -> Any:
        if self._response is None:
            self._response = self._connection.getresponse()
            assert self._response.status == 200
        return json.loads(self._response.readline())

    def hang_up(self) -> None:
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def is_released(self, marks: Path) -> bool:
        return (marks / f"released-{self.id}").exists()


@contextlib.contextmanager
def clients(served: Served, loop: str) -> Iterator[Callable[..., Client]]:
    """Yield a way to open clients, which hang up at the end."""
    opened: list[Client] = []

    def open_client(**order: Any) -> Client:
        opened.append(Client(served, loop, **order))
        return opened[-1]

    try:
        yield open_client
    finally:
        for client in opened:
            client.hang_up()
        wait_idle(served, loop)


def steps_of(stream: Streamed) -> list[int]:
    return [token["step"] for token in stream.values()]


def assert_in_every_step(tokens: list[Any]) -> None:
    """Check that a job had a token in each step from its first to its last."""
    steps = [token["step"] for token in tokens]
    assert steps == list(range(steps[0], steps[0] + len(steps)))


# ---- many clients


@pytest.mark.parametrize("loop", LOOPS)
def test_clients_share_the_steps(served: Served, loop: str) -> None:
    """Their tokens are made together, and each gets its own, in order and to the end."""
    with in_background() as submit:
        futures = [submit(read_stream, served, f"/{loop}", {"n": 60}) for _ in range(SLOTS)]
        streams = [future.result() for future in futures]
    for stream in streams:
        assert stream.is_whole
        assert [token["n"] for token in stream.values()] == list(range(1, 61))
        assert_in_every_step(stream.values())
    assert len({stream.values()[0]["slot"] for stream in streams}) == SLOTS
    assert set.intersection(*(set(steps_of(stream)) for stream in streams)) != set()


def test_more_clients_than_slots_wait_for_one(served: Served, marks: Path) -> None:
    """A slot is used again as soon as its job has ended, while the other jobs go on."""
    with in_background() as submit:
        futures = [submit(read_stream, served, "/plain", {"n": 5 + 5 * number}) for number in range(3 * SLOTS)]
        streams = [future.result() for future in futures]
    assert all(stream.is_whole for stream in streams)
    assert [len(stream.lines) for stream in streams] == [5 + 5 * number for number in range(3 * SLOTS)]
    assert {token["slot"] for stream in streams for token in stream.values()} == set(range(SLOTS))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_hang_up_frees_its_slot_alone(served: Served, marks: Path, loop: str) -> None:
    """The job that waits has the slot at once, and the others have a token in every step."""
    with clients(served, loop) as new:
        running = [new() for _ in range(SLOTS)]
        slots = [client.next()["slot"] for client in running]
        waiting = new(n=3)
        wait_until(lambda: served.status()["endpoints"][loop]["queued"] == 1, "a queued job")
        running[1].hang_up()
        assert waiting.next()["slot"] == slots[1]
        assert running[1].is_released(marks)
        for client in (running[0], running[2], running[3]):
            assert_in_every_step([client.next() for _ in range(20)])


@pytest.mark.parametrize("loop", LOOPS)
def test_a_deadline_ends_one_job_alone(served: Served, marks: Path, loop: str) -> None:
    """Its client is answered, its slot is released, and the other jobs have a token in every step."""
    with clients(served, loop) as new:
        other = new()
        tokens = [other.next()]
        hurried = new(timeout="0.3")
        lines = [hurried.next()]
        while "error" not in lines[-1]:
            lines.append(hurried.next())
        assert lines[-1]["error"]["code"] == "total-timeout"
        wait_until(lambda: hurried.is_released(marks), "the release")
        tokens += [other.next() for _ in range(100)]
        assert_in_every_step(tokens)


@pytest.mark.timed
def test_a_slow_reader_holds_up_no_other(served: Served) -> None:
    """It gets no more tokens until it reads; then it gets them all. A loop of slow readers uses no CPU."""
    with clients(served, "plain") as new:
        slow = new(n=12, size=WINDOWS // 6)
        first = slow.next()
        quick = read_stream(served, "/plain", {"n": 30})
        assert quick.is_whole
        assert_in_every_step(quick.values())
        assert cpu_seconds_of(worker_pid(served, "plain"), during=0.5) < 0.05
        tokens = [first] + [slow.next() for _ in range(11)]
        assert [token["n"] for token in tokens] == list(range(1, 13))
        assert tokens[-1]["step"] > quick.values()[-1]["step"]


def cpu_seconds_of(pid: int, *, during: float) -> float:
    """Return the CPU time that a process uses from now on, while this one sleeps."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(during)
    return used() - before


# ---- stuck code


@pytest.mark.parametrize("stuck", ["sleep", "admit"])
@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_a_stuck_asynchronous_loop_is_cancelled(served: Served, loop: str, stuck: str) -> None:
    """With the last job that waits for it. The worker goes on."""
    pid = worker_pid(served, loop)
    assert_problem(
        served.post_json(f"/{loop}", {"stuck": stuck}, headers={"X-Request-Timeout": "0.3"}),
        "total-timeout",
        504,
        retry=False,
    )
    assert read_stream(served, f"/{loop}", {"n": 1}).values()[0]["pid"] == pid


@pytest.mark.parametrize("loop", ["plain", "plain-asyncio"])
def test_a_stuck_admit_is_interrupted(served: Served, loop: str) -> None:
    """It runs for one job alone, so the others have only waited for it. Nothing is released that was not admitted."""
    pid = worker_pid(served, loop)
    with clients(served, loop) as new:
        other = new()
        tokens = [other.next()]
        answer = served.post_json(f"/{loop}", {"stuck": "admit"}, headers={"X-Request-Timeout": "0.3"})
        assert_problem(answer, "total-timeout", 504, retry=False)
        tokens += [other.next() for _ in range(60)]
        assert_in_every_step(tokens)
        assert tokens[-1]["pid"] == pid


def test_a_stuck_step_that_nobody_waits_for_is_interrupted(served: Served, marks: Path) -> None:
    """Once half of the grace period has passed, in case it ends by itself. The worker goes on."""
    pid = worker_pid(served, "hopeless")
    with clients(served, "hopeless") as new:
        gone = [new(timeout="0.4"), new(stuck="sleep", timeout="0.4")]
        wait_until(lambda: all(client.is_released(marks) for client in gone), "both releases")
    assert read_stream(served, "/hopeless", {"n": 1}).values()[0]["pid"] == pid


@pytest.mark.parametrize("stuck", ["sleep", "deaf"])
def test_a_stuck_step_is_killed_and_innocent_jobs_run_again(served: Served, stuck: str) -> None:
    """After the grace period. A job that has sent nothing begins anew, and is not charged an attempt."""
    pid = worker_pid(served, "hopeless")
    with in_background() as submit:
        innocent = submit(read_stream, served, "/hopeless", {"n": 2, "silent": 100})
        wait_running(served, "hopeless")
        begun = Client(served, "hopeless")
        begun.next()
        answer = served.post_json("/hopeless", {"stuck": stuck}, headers={"X-Request-Timeout": "0.3"})
        assert_problem(answer, "total-timeout", 504, retry=False)
        wait_event(served, "kill", pid=pid)
        stream = innocent.result()
    line = begun.next()
    while "error" not in line:
        line = begun.next()
    assert line["error"]["code"] == "worker-lost"
    begun.hang_up()
    assert stream.is_whole
    assert [token["n"] for token in stream.values()] == [1, 2]
    assert stream.values()[0]["pid"] == worker_pid(served, "hopeless") != pid


def test_a_worker_that_is_killed_in_a_step(served: Served) -> None:
    """A job that has sent a chunk ends with ``worker-lost``; one that has not runs again, in another worker."""
    pid = worker_pid(served, "plain")
    with in_background() as submit, clients(served, "plain") as new:
        silent = submit(read_stream, served, "/plain", {"n": 2, "silent": 100})
        wait_running(served, "plain")
        begun = new()
        begun.next()
        os.kill(pid, signal.SIGKILL)
        line = begun.next()
        while "error" not in line:
            line = begun.next()
        assert line["error"]["code"] == "worker-lost"
        tokens = silent.result().values()
    assert [token["n"] for token in tokens] == [1, 2]
    assert {token["pid"] for token in tokens} == {worker_pid(served, "plain")} != {pid}


# ---- answers of other kinds


def test_a_job_that_admit_refuses(served: Served) -> None:
    """``InvalidRequest`` is a 422, as is a body that does not fit."""
    for body in ({"n": 0}, {"n": "x"}):
        answer = served.post_json("/plain", body)
        assert (answer.status, answer.json()["error"]["code"]) == (422, "invalid-request")


def test_a_background_job_has_all_chunks(served: Served) -> None:
    """As that of any stream."""
    answer = served.post_json("/plain", {"n": 3}, headers={"Prefer": "respond-async, wait=20"})
    assert answer.status == 200
    assert [token["n"] for token in answer.lines()] == [1, 2, 3]


def test_server_sent_events(served: Served) -> None:
    """A loop is spoken to as any stream is."""
    answer = served.post_json("/plain", {"n": 2}, headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body.count(b"data: {") == 3
    assert b"event: end" in answer.body


ONE_LOOP = """
    from penstock import App
    from tests.e2e.apps.generation_app import Plain

    app = App(__name__)
    app.endpoint("/chat", max_slots=4)(Plain)
"""


def test_a_drain_finishes_what_has_begun(tmp_path: Path) -> None:
    """And tears the model down, which holds no job by then."""
    with Served(write_app(tmp_path, ONE_LOOP), environment={FOLDER_VARIABLE: str(tmp_path)}) as served:
        begun = threading.Event()
        with in_background() as submit:
            future = submit(read_stream, served, "/chat", {"n": 50}, on_first_line=begun.set)
            assert begun.wait(20)
            pid = worker_pid(served, "chat")
            assert served.stop() == 0
            assert len(future.result().lines) == 50
        assert (tmp_path / f"teardown-{pid}").read_text() == "0"
