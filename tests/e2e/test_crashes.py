"""Workers that die, in every way: no other job may be harmed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.scheduler.retries import POISON_DEATHS
from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import (
    assert_problem,
    in_background,
    new_id,
    seconds_between,
    wait_event,
    wait_running,
    worker_pid,
    worker_pids,
)
from tests.serving import ROOT, Answer, Served, wait_until

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "crashes_app.py"
STORM_SECONDS = 5.0
PAUSE_SECONDS = 0.4  # between two kills, on average
SEED = 20_261_120


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def served(marks: Path) -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json", environment={FOLDER_VARIABLE: str(marks)}) as served:
        yield served


@pytest.fixture
def name() -> str:
    return new_id()


def deaths(marks: Path, name: str) -> int:
    """Return the number of workers that the poison has killed."""
    return len((marks / f"{name}.deaths").read_text(encoding="utf-8").splitlines())


def is_alive(pid: int) -> bool:
    """Return whether the process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def parent_of(pid: int) -> int:
    """The process that started it."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])


def descriptors_of(pid: int) -> list[int]:
    """The descriptors that the process has open."""
    return [int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def all_worker_pids(served: Served) -> list[int]:
    """Every worker that there is, once every place has one."""
    return [pid for pool in served.status()["pools"] for pid in worker_pids(served, pool)]


# ---- random kills


class Storm:
    """Clients that ask without a pause, each with a number of its own in every request, and what they were answered."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.answers: dict[int, tuple[int, Any]] = {}
        self.failures: list[Exception] = []
        self.asking: dict[str, int] = {}  # client: the number of the request that it waits for
        self.stopping = threading.Event()
        self._numbers = iter(range(10**9))

    def client(self, path: str) -> threading.Thread:
        thread = threading.Thread(target=self._work, args=(path,))
        thread.start()
        return thread

    def _work(self, path: str) -> None:
        connection = http.client.HTTPConnection(self.served.host, self.served.port, timeout=20)
        with contextlib.closing(connection):
            while not self.stopping.is_set():
                try:
                    self._ask(connection, path)
                except Exception as error:  # raised in the test's own thread
                    self.failures.append(error)
                    return

    def _ask(self, connection: http.client.HTTPConnection, path: str) -> None:
        number = next(self._numbers)
        self.asking[threading.current_thread().name] = number
        connection.request("POST", path, json.dumps({"number": number}).encode(), {"Content-Type": "application/json"})
        response = connection.getresponse()
        self.answers[number] = (response.status, json.loads(response.read()))

    def wait_until_answered(self) -> None:
        """Wait until all that is being asked now has been answered."""
        asked = set(self.asking.values())
        wait_until(lambda: self.failures or asked <= self.answers.keys(), "the answers to what was asked")


def kill_any_worker(served: Served, dice: random.Random) -> bool:
    """Kill a worker of the pools under load, whichever; False if there is none at the moment."""
    pools = served.status()["pools"]
    pids = [worker["pid"] for pool in ("load", "load_async") for worker in pools[pool]["workers"] if worker["pid"]]
    if not pids:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(dice.choice(pids), signal.SIGKILL)
    return True


def echoes(served: Served) -> int:
    """Return how many jobs of the storm's endpoints have succeeded."""
    endpoints = served.status()["endpoints"]
    return sum(endpoints[endpoint]["totals"].get("ok", 0) for endpoint in ("echo", "echo_async"))


def test_killed_workers_cost_no_request(served: Served) -> None:
    """Whichever workers are killed under load, every request is answered 200, with its own answer, exactly once."""
    storm = Storm(served)
    before = echoes(served)
    dice = random.Random(SEED)
    clients = [storm.client(path) for path in ("/echo", "/echo_async") for _ in range(4)]
    kills = 0
    ends_at = time.monotonic() + STORM_SECONDS
    try:
        while time.monotonic() < ends_at and not storm.failures:
            time.sleep(dice.uniform(0.0, 2 * PAUSE_SECONDS))  # the rule is about any moment
            kills += kill_any_worker(served, dice)
            # Two deaths under one request would make it a poisonous one, which is another test's rule.
            storm.wait_until_answered()
    finally:
        storm.stopping.set()
        for client in clients:
            client.join()
    assert storm.failures == []
    assert kills >= STORM_SECONDS / PAUSE_SECONDS / 4
    assert {number: answer for number, answer in storm.answers.items() if answer != (200, number)} == {}
    assert echoes(served) == before + len(storm.answers)
    assert served.events("worker-lost")


def test_a_stream_that_has_begun_is_never_begun_again(served: Served) -> None:
    """The stream of a killed worker ends with an error and a cut connection: its first chunks are out already."""
    with served.connect() as client:
        client.sendall(b"POST /echo_stream HTTP/1.1\r\nHost: test\r\nContent-Length: 13\r\n\r\n" + b'{"number": 7}')
        seen = b""
        while b"7\n" not in seen:
            seen += client.recv(4096)
        pools = served.status()["pools"]
        (pid,) = [worker["pid"] for worker in pools["load"]["workers"] if worker["attempts"]]
        os.kill(pid, signal.SIGKILL)
        while piece := client.recv(4096):
            seen += piece
    assert seen.count(b"7\n") == 1
    assert b'"code":"worker-lost"' in seen
    assert not seen.endswith(b"0\r\n\r\n")


# ---- poison


def ask_many(served: Served, path: str, count: int) -> list[Answer]:
    """Ask one after another, with a number in each."""
    return [served.post_json(path, {"number": number}) for number in range(count)]


@pytest.mark.parametrize("how", ["signal", "exit", "segfault"])
def test_poison_fails_after_two_workers(served: Served, marks: Path, name: str, how: str) -> None:
    """A request that kills its worker each time fails with ``worker-lost`` at the second, and harms no other job."""
    worker_pids(served, "poison")
    with in_background() as run:
        others = [run(ask_many, served, "/good", 10) for _ in range(3)]
        answer = served.post_json("/poison", {"name": name, "how": how})
        assert_problem(answer, "worker-lost", 503, retry=True)
        for other in others:
            assert [(one.status, one.json()) for one in other.result()] == [(200, number) for number in range(10)]
    assert deaths(marks, name) == 2
    worker_pids(served, "poison")
    assert deaths(marks, name) == 2


def test_the_log_of_a_crash_ends_at_the_users_frames(served: Served, name: str) -> None:
    """It names the line that crashed the worker, and none of Penstock's frames around it."""
    before = len(served.events("output"))
    served.post_json("/poison", {"name": name, "how": "segfault"})
    wait_until(lambda: len(served.events("output")) > before, "the output")
    worker_pids(served, "poison")
    lines = [event["message"] for event in served.events("output")[before:]]
    frames = [line for line in lines if line.startswith('  File "')]
    assert any("crashes_app.py" in frame for frame in frames)
    assert not any("/penstock/" in frame for frame in frames), frames


def test_poison_in_a_batch_fails_alone(served: Served, marks: Path, name: str) -> None:
    """Jobs batched with poison are answered 200: the members of a lost batch run again, each alone."""
    items = [{"name": "a"}, {"name": name, "how": "signal"}, {"name": "b"}, {"name": "c"}]
    with in_background() as run:
        answers = [run(served.post_json, "/poison_batch", item) for item in items]
    poison = answers.pop(1).result()
    assert_problem(poison, "worker-lost", 503, retry=True)
    assert [(one.result().status, one.result().json()) for one in answers] == [(200, "a"), (200, "b"), (200, "c")]
    assert deaths(marks, name) == 2


def test_poison_beside_async_work_fails_alone(served: Served, marks: Path, name: str) -> None:
    """Jobs that shared a worker with poison are answered 200: the suspects run again, each in its own worker."""
    others = [f"{name}.{number}" for number in range(3)]
    release = f"{name}.release"
    with in_background() as run:
        calls = [run(served.post_json, "/poison_async", {"name": other, "until": release}) for other in others]
        wait_until(lambda: all((marks / f"{other}.began").exists() for other in others), "all to run")
        poison = run(served.post_json, "/poison_async", {"name": name, "how": "signal"})
        wait_until((marks / f"{name}.deaths").exists, "the first death")
        (marks / release).touch()
        assert_problem(poison.result(), "worker-lost", 503, retry=True)
        assert [(call.result().status, call.result().json()) for call in calls] == [(200, other) for other in others]
    assert deaths(marks, name) == 2


def test_what_is_not_idempotent_runs_once(served: Served, marks: Path, name: str) -> None:
    """A job of a non-idempotent endpoint fails at once with its worker, and the response asks not to retry."""
    answer = served.post_json("/once", {"name": name, "how": "signal"})
    assert_problem(answer, "worker-lost", 503, retry=False)
    worker_pid(served, "once")
    assert deaths(marks, name) == 1


# ---- vandals


def check_neighbour(served: Served) -> None:
    """The vandal's worker, or the one that has replaced it, serves others."""
    answer = served.post_json("/neighbour", {"number": 7})
    assert (answer.status, answer.json()) == (200, 7)


@pytest.mark.parametrize("kind", ["print_garbage", "close_stdin", "fork_and_return", "fork_in_c", "fork_a_survivor"])
def test_harmless_habits_harm_nobody(served: Served, kind: str) -> None:
    """User code may print, fork and close its own descriptors; that costs neither the worker nor the request."""
    pid = worker_pid(served, "vandals")
    answer = served.post_json("/vandal", {"kind": kind})
    assert (answer.status, answer.json()) == (200, kind)
    check_neighbour(served)
    assert worker_pid(served, "vandals") == pid


def test_garbage_on_stdout_leaves_the_log_whole(served: Served) -> None:
    """Whatever a worker writes, each line of the log is one event, and what was printed in lines comes out in lines."""
    served.post_json("/vandal", {"kind": "print_garbage"})
    wait_until(
        lambda: {"a line of its own"} <= {event["message"] for event in served.events("output")}, "the printed line"
    )
    for line in served.log_lines():
        assert json.loads(line)["event"]
    marked = [event["worker"] for event in served.events("output") if event["message"] == "a line of its own"]
    assert set(marked) == {"vandals/0"}


@pytest.mark.parametrize("kind", ["call_sys_exit", "raise_system_exit", "raise_keyboard_interrupt"])
def test_exit_by_exception_fails_the_request_only(served: Served, kind: str) -> None:
    """Exceptions that mean to end the program end the request: ``handler-error``, and the worker lives."""
    pid = worker_pid(served, "vandals")
    assert_problem(served.post_json("/vandal", {"kind": kind}), "handler-error", 500, retry=False)
    check_neighbour(served)
    assert worker_pid(served, "vandals") == pid


@pytest.mark.parametrize("kind", ["close_sockets", "close_everything", "write_to_the_engine", "call_os_exit"])
def test_a_worker_that_breaks_its_lifeline_is_replaced(served: Served, kind: str) -> None:
    """A worker that exits, or closes or breaks its connection to the engine, costs its own request and no other."""
    pid = worker_pid(served, "vandals")
    with in_background() as run:
        vandal = run(served.post_json, "/vandal", {"kind": kind})
        others = run(ask_many, served, "/neighbour", 10)
        assert_problem(vandal.result(), "worker-lost", 503, retry=True)
        assert [(one.status, one.json()) for one in others.result()] == [(200, number) for number in range(10)]
    assert worker_pid(served, "vandals") != pid


def test_a_worker_cannot_answer_for_another(served: Served) -> None:
    """A handler that writes results of other workers' jobs to the engine has its worker killed, and changes nothing."""
    pid = worker_pid(served, "vandals")
    with in_background() as run:
        other = run(served.post_json, "/echo_async", {"number": 5, "seconds": 0.3})
        wait_running(served, "echo_async")
        assert_problem(served.post_json("/vandal", {"kind": "answer_for_others"}), "worker-lost", 503, retry=True)
        assert (other.result().status, other.result().json()) == (200, 5)
    assert worker_pid(served, "vandals") != pid
    assert "it broke the protocol: it reports on attempt" in wait_event(served, "kill", pid=pid)["reason"]


def test_programs_of_a_dead_worker_are_ended(served: Served, marks: Path) -> None:
    """Programs started by a worker die with it; those that left its session survive and do not block anything."""
    served.post_json("/vandal", {"kind": "start_a_program"})
    served.post_json("/vandal", {"kind": "fork_a_survivor"})
    served.post_json("/vandal", {"kind": "fork_in_c"})
    wait_until((marks / "survivor").exists, "the survivor")
    program, survivor = (int((marks / which).read_text(encoding="utf-8")) for which in ("program", "survivor"))
    pid = worker_pid(served, "vandals")
    try:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: worker_pid(served, "vandals") != pid, "another worker", timeout=5)
        check_neighbour(served)
        wait_until(lambda: not is_alive(program), "the program's end")
        assert is_alive(survivor)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(survivor, signal.SIGKILL)


# ---- restarts


def restarts_of(served: Served, worker: str) -> list[dict[str, Any]]:
    """The events of the restarts of one worker."""
    return [event for event in served.events("restart") if event["worker"] == worker]


def test_restarts_that_fail_back_off(served: Served, marks: Path) -> None:
    """A worker that cannot be set up again is started at once, then after 1 s, then 2 s, until it is; others go on."""
    pid = worker_pid(served, "fickle")
    (marks / "setup.fails").touch()
    os.kill(pid, signal.SIGKILL)
    restarts = wait_until(lambda: restarts_of(served, "fickle/0")[2:] and restarts_of(served, "fickle/0"), "3 restarts")
    (marks / "setup.fails").unlink()
    assert [event["backoff"] for event in restarts[:3]] == [0.0, 1.0, 2.0]
    assert seconds_between(restarts[0], restarts[1]) < 1.0
    assert seconds_between(restarts[1], restarts[2]) >= 1.0
    lost = [event for event in served.events("worker-lost") if event.get("worker") == "fickle/0"]
    assert "the weights are gone" in lost[1]["traceback"]
    assert served.get("/readyz").status == 503
    assert ask_many(served, "/echo", 1)[0].status == 200
    served.wait_ready()
    assert ask_many(served, "/fickle", 1)[0].status == 200


# ---- the processes above the workers


@contextlib.contextmanager
def one_is_stuck(served: Served, marks: Path, name: str) -> Iterator[None]:
    """Have a worker inside C code that holds the interpreter's lock, for longer than the test lasts."""
    with served.connect() as client:
        body = json.dumps({"name": name}).encode()
        client.sendall(b"POST /stuck HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        wait_until((marks / f"{name}.began").exists, "the stuck work")
        yield


def test_a_killed_zygote_is_replaced(served: Served) -> None:
    """After kill -9 of the process that forks the workers there is another, and what was running runs again."""
    before = set(all_worker_pids(served))
    zygote = parent_of(worker_pid(served, "vandals"))
    with in_background() as run:
        running = run(served.post_json, "/echo", {"number": 1, "seconds": 0.5})
        wait_until(lambda: served.status()["endpoints"]["echo"]["running"] == 1, "running work")
        os.kill(zygote, signal.SIGKILL)
        assert (running.result().status, running.result().json()) == (200, 1)
    after = set(all_worker_pids(served))
    assert not before & after
    wait_until(lambda: not any(is_alive(pid) for pid in before), "the end of the old workers", timeout=1.0)
    assert served.events("zygote-lost")
    check_neighbour(served)


@pytest.mark.parametrize("order", [1, -1])
def test_workers_that_die_together_cost_no_request(served: Served, order: int) -> None:
    """After kill -9 of all workers at once a job runs again: it does not go to an idle worker that is dead as well."""
    pids = worker_pids(served, "load_async")
    http_process = parent_of(parent_of(pids[0]))
    with in_background() as run:
        running = run(served.post_json, "/echo_async", {"number": 1, "seconds": 0.2})
        wait_running(served, "echo_async")
        os.kill(http_process, signal.SIGSTOP)  # or this test might lose the CPU between the two kills
        for pid in pids[::order]:
            os.kill(pid, signal.SIGKILL)
        os.kill(http_process, signal.SIGCONT)
        assert (running.result().status, running.result().json()) == (200, 1)


def test_the_end_of_a_zygote_counts_against_no_job(served: Served) -> None:
    """A job whose workers die with their zygote, again and again, is neither suspected nor out of attempts."""
    with in_background() as run:
        running = run(served.post_json, "/echo_async", {"number": 1, "seconds": 1.0})
        for _ in range(POISON_DEATHS):
            wait_running(served, "echo_async")
            workers = served.status()["pools"]["load_async"]["workers"]
            (busy,) = [worker["pid"] for worker in workers if worker["state"] == "busy"]
            os.kill(parent_of(busy), signal.SIGKILL)
            wait_until(lambda: not served.status()["endpoints"]["echo_async"]["running"], "the end of the workers")
        assert (running.result().status, running.result().json()) == (200, 1)


def test_a_killed_http_process_is_replaced(served: Served, marks: Path, name: str) -> None:
    """After kill -9 of the HTTP process gunicorn starts another, and no worker of the old one survives a second."""
    before = all_worker_pids(served)
    http_process = parent_of(parent_of(before[0]))
    assert parent_of(http_process) == served.process.pid
    with one_is_stuck(served, marks, name):
        os.kill(http_process, signal.SIGKILL)
        wait_until(lambda: not any(is_alive(pid) for pid in before), "the end of the old workers", timeout=1.0)
    served.wait_ready()
    assert not set(before) & set(all_worker_pids(served))
    check_neighbour(served)


def test_nothing_survives_the_master(marks: Path, name: str) -> None:
    """After kill -9 of gunicorn's master the orphans notice, drain and go, even with a worker that is stuck."""
    with Served(TARGET, "--log-format", "json", environment={FOLDER_VARIABLE: str(marks)}) as served:
        with one_is_stuck(served, marks, name):
            served.process.kill()
            served.process.wait()
            assert served.survivors()
            wait_until(lambda: not served.survivors(), "the end of everything", timeout=10.0)
        assert served.events("orphaned")


# ---- what runs out, and what hangs


def test_connections_cannot_keep_a_worker_from_coming_back(marks: Path) -> None:
    """With every descriptor of the HTTP process in use, a worker that dies is replaced as fast as ever."""
    with Served(TARGET, "--log-format", "json", environment={FOLDER_VARIABLE: str(marks)}) as served:
        pid = worker_pid(served, "vandals")
        http_process = parent_of(parent_of(pid))
        limit = max(descriptors_of(http_process)) + 10
        resource.prlimit(http_process, resource.RLIMIT_NOFILE, (limit, limit))
        with contextlib.ExitStack() as connections:
            for _ in range(limit):
                connections.enter_context(served.connect())
            wait_until(lambda: len(descriptors_of(http_process)) == limit, "the last descriptor")
            ready = len(served.events("worker-ready"))
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: len(served.events("worker-ready")) > ready, "another worker", timeout=5.0)


@pytest.mark.timed
def test_a_stopped_zygote_does_not_delay_the_end(marks: Path) -> None:
    """The ends of workers are seen without it, so that SIGTERM takes as long as ever."""
    with Served(TARGET, "--log-format", "json", environment={FOLDER_VARIABLE: str(marks)}) as served:
        os.kill(parent_of(worker_pid(served, "vandals")), signal.SIGSTOP)
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 6.0


def test_a_stopped_worker_is_replaced(served: Served) -> None:
    """An idle worker that is stopped by a signal is killed after a while, and serves again from another process."""
    pid = worker_pid(served, "vandals")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: any(event.get("pid") == pid for event in served.events("kill")), "the kill", timeout=8.0)
    check_neighbour(served)
    assert worker_pid(served, "vandals") != pid
