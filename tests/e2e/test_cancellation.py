from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import (
    assert_on_time,
    assert_problem,
    in_background,
    new_id,
    read_stream,
    wait_event,
    wait_running,
    worker_pid,
)
from tests.serving import Served, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

# The timeouts that every endpoint of the app declares; GRACE matters to those that only a kill stops.
EXECUTION = 0.4
GRACE = 0.4
# A worker that can be interrupted has 20 s for that; it takes milliseconds, and this leaves room for a busy machine.
REUSED_WITHIN_SECONDS = 2.0


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def served(marks: Path) -> Iterator[Served]:
    environment = {FOLDER_VARIABLE: str(marks)}
    with Served("tests/e2e/apps/cancellation.py:app", "--log-format", "json", environment=environment) as served:
        yield served


@contextlib.contextmanager
def worker_is_reused(served: Served, pool: str) -> Iterator[None]:
    """Check that what happens meanwhile leaves the pool's one worker alive, and soon ready for the next request."""
    pid = worker_pid(served, pool)
    yield
    wait_until(lambda: _is_idle(served, pool, pid), f"worker {pid} to be free", timeout=REUSED_WITHIN_SECONDS)
    answer = served.post_json(f"/{pool}-pid", {})
    assert (answer.status, answer.json()) == (200, pid)
    assert [event for event in served.events("kill") if event["pid"] == pid] == []


def _is_idle(served: Served, pool: str, pid: int) -> bool:
    (worker,) = served.status()["pools"][pool]["workers"]
    assert worker["pid"] == pid, "the worker was replaced"
    return worker["state"] == "ready" and not worker["attempts"]


@contextlib.contextmanager
def worker_is_replaced(served: Served, pool: str) -> Iterator[None]:
    """Check that what happens meanwhile costs the pool's one worker its life, and that another serves in its place."""
    pid = worker_pid(served, pool)
    yield
    # A worker with several places may serve on in the others until it is killed.
    assert wait_event(served, "kill", pid=pid)["worker"] == f"{pool}/0"
    answer = served.post_json(f"/{pool}-pid", {})
    assert answer.status == 200
    assert answer.json() == worker_pid(served, pool) != pid
    assert not Path(f"/proc/{pid}").exists()


def time_out(served: Served, path: str, **body: object) -> str:
    """Post, check that the answer is a 504 on time, and return the request's id."""
    job = new_id()
    answer = served.post_json(path, body, headers={"X-Request-Id": job})
    assert_problem(answer, "execution-timeout", 504, retry=False)
    assert_on_time(answer.seconds, EXECUTION)
    return job


def time_out_stream(served: Served, path: str, **body: object) -> str:
    """Post, check that the stream that has begun is cut short with an error on time, and return the request's id."""
    job = new_id()
    stream = read_stream(served, path, body, **{"X-Request-Id": job})
    assert stream.status == 200
    assert stream.values()[-1]["error"]["code"] == "execution-timeout"
    assert_on_time(stream.arrivals[-1], EXECUTION)
    assert not stream.is_whole
    return job


def seen_by(marks: Path, job: str) -> str:
    """Wait until the handler of this job has cleaned up; return the name of the exception that it saw."""
    path = marks / job
    wait_until(path.exists, f"the finally block of {job}")
    return path.read_text()


# ---- sync code


@pytest.mark.parametrize(
    "how",
    [
        "loop",
        "sleep",
        "lock",
        "event",
        "queue",
        "recv",
        "pipe",
        "regex",
        "short_numpy_calls",
        "except_exception",
    ],
)
def test_stuck_sync_code_is_interrupted(served: Served, marks: Path, how: str) -> None:
    """An exception is raised inside it, so its ``finally`` blocks run, and the worker goes on to the next request."""
    with worker_is_reused(served, "inline"):
        job = time_out(served, "/stuck", how=how)
    assert seen_by(marks, job) == "Interrupted"


@pytest.mark.parametrize("how", ["loop", "sleep", "recv"])
def test_stuck_sync_code_is_interrupted_under_asyncio(served: Served, marks: Path, how: str) -> None:
    """Sync code in a pool that runs on asyncio is interrupted just the same."""
    with worker_is_reused(served, "asyncio"):
        job = time_out(served, "/stuck-inline-asyncio", how=how)
    assert seen_by(marks, job) == "Interrupted"


def test_a_stuck_batch_is_interrupted_once(served: Served, marks: Path) -> None:
    """When the deadline of its last member has passed, a batch is interrupted as one, and each member has its 504."""
    names = sorted(new_id() for _ in range(2))
    with worker_is_reused(served, "inline"), in_background() as submit:
        answers = [future.result() for future in [submit(served.post_json, "/stuck-batch", name) for name in names]]
    for answer in answers:
        assert_problem(answer, "execution-timeout", 504, retry=False)
    assert seen_by(marks, "+".join(names)) == "Interrupted"


def test_a_model_keeps_what_it_has_loaded(served: Served, marks: Path) -> None:
    """After an interrupt the same instance serves on: nothing is loaded anew."""
    first = time_out(served, "/stuck-model")
    assert seen_by(marks, first) == "Interrupted"
    assert served.post_json("/stuck-model", {"seconds": 0.0}).json() == 2


def test_whoever_swallows_the_interrupt_and_returns_is_forgiven(served: Served, marks: Path) -> None:
    """Code that catches ``BaseException`` and then returns has stopped: its result is thrown away, its worker lives."""
    with worker_is_reused(served, "inline"):
        job = time_out(served, "/swallow-once")
    assert seen_by(marks, job) == "Interrupted"


def test_one_interrupt_follows_another(served: Served) -> None:
    """The same worker is interrupted as often as it takes: each time one attempt, and never the next one."""
    with worker_is_reused(served, "inline"):
        for how in ("sleep", "loop") * 3:
            time_out(served, "/stuck", how=how)
            assert served.post_json("/inline-pid", {}).status == 200


# ---- generators


def test_a_generator_is_interrupted_before_its_first_chunk(served: Served, marks: Path) -> None:
    """A stream that has not begun is a plain 504, and its generator is interrupted like any code."""
    with worker_is_reused(served, "inline"):
        job = time_out(served, "/stuck-stream", how="before")
    assert seen_by(marks, job) == "Interrupted"


both_loops = pytest.mark.parametrize(
    ("path", "pool"), [("/stuck-stream", "inline"), ("/stuck-stream-asyncio", "asyncio")]
)


@both_loops
def test_a_generator_is_interrupted_inside_a_chunk(served: Served, marks: Path, path: str, pool: str) -> None:
    """A generator that is stuck on the way to its next chunk is interrupted there."""
    with worker_is_reused(served, pool):
        job = time_out_stream(served, path, how="inside")
    assert seen_by(marks, job) == "Interrupted"


@both_loops
def test_a_generator_that_is_never_silent_is_stopped(served: Served, marks: Path, path: str, pool: str) -> None:
    """One that yields without end is stopped wherever it is: at a ``yield``, or on the way to the next."""
    with worker_is_reused(served, pool):
        job = time_out_stream(served, path, how="never_silent")
    assert seen_by(marks, job) in ("Interrupted", "GeneratorExit")


@contextlib.contextmanager
def idle_reader(served: Served, path: str, job: str) -> Iterator[socket.socket]:
    """A client that asks for a stream and then reads nothing."""
    body = b"{}"
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nX-Request-Id: {job}\r\nContent-Type: application/json\r\n"
    with served.connect() as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        yield client


@pytest.mark.parametrize(
    ("path", "pool"), [("/flood", "inline"), ("/flood-tasks", "tasks"), ("/flood-asyncio", "asyncio")]
)
def test_a_generator_is_closed_between_chunks(served: Served, marks: Path, path: str, pool: str) -> None:
    """A generator that waits at a ``yield``, as its client does not read, is closed there at the deadline."""
    job = new_id()
    with worker_is_reused(served, pool), idle_reader(served, path, job):
        assert seen_by(marks, job) == "GeneratorExit"
        assert wait_event(served, "interrupt", request_id=job)["why"] == "execution"


# ---- async code


@pytest.mark.parametrize(
    ("path", "pool", "seen"),
    [("/stuck-task", "tasks", "Cancelled"), ("/stuck-asyncio", "asyncio", "CancelledError")],
)
def test_stuck_async_code_is_cancelled(served: Served, marks: Path, path: str, pool: str, seen: str) -> None:
    """The task is cancelled at its ``await``, in the way of its loop, and the worker goes on."""
    with worker_is_reused(served, pool):
        job = time_out(served, path)
    assert seen_by(marks, job) == seen


@pytest.mark.parametrize(
    ("path", "pool", "seen"),
    [("/stuck-task-stream", "tasks", "Cancelled"), ("/stuck-asyncio-stream", "asyncio", "CancelledError")],
)
def test_a_stuck_async_generator_is_cancelled(served: Served, marks: Path, path: str, pool: str, seen: str) -> None:
    """An async generator is cancelled at its ``await`` between two chunks, and its ``finally`` blocks run."""
    with worker_is_reused(served, pool):
        job = time_out_stream(served, path)
    assert seen_by(marks, job) == seen


# ---- what only a kill stops


@pytest.mark.parametrize("how", ["long_numpy_call", "swallow", "clean_up_for_ever"])
def test_sync_code_that_does_not_stop_is_killed(served: Served, how: str) -> None:
    """One long call of C, a swallowed interrupt and an endless ``finally`` cost the worker its life after the grace."""
    with worker_is_replaced(served, "inline"):
        time_out(served, "/hopeless", how=how)


@pytest.mark.parametrize("how", ["long_numpy_call", "swallow"])
def test_a_generator_that_does_not_stop_is_killed(served: Served, how: str) -> None:
    """A stream that has begun is cut short at its deadline, and its worker is killed after the grace."""
    with worker_is_replaced(served, "inline"):
        time_out_stream(served, "/hopeless-stream", how=how)


@pytest.mark.parametrize(
    ("path", "pool", "how"),
    [
        ("/hopeless-task", "tasks", {"how": "shield"}),
        ("/hopeless-task", "tasks", {"how": "swallow"}),
        ("/hopeless-task", "tasks", {"how": "long_numpy_call"}),
        ("/hopeless-asyncio", "asyncio", {}),
    ],
)
def test_async_code_that_swallows_its_cancellation_is_killed(
    served: Served, path: str, pool: str, how: dict[str, str]
) -> None:
    """A task that shields itself, swallows the cancellation or blocks its loop is ended with its worker."""
    with worker_is_replaced(served, pool):
        time_out(served, path, **how)


def test_the_innocent_beside_a_killed_task_run_again(served: Served) -> None:
    """A job that ran beside one that had to be killed is run anew in the next worker, and answered once."""
    with in_background() as submit, worker_is_replaced(served, "tasks"):
        waiting = submit(served.post_json, "/innocent", {})
        wait_running(served, "innocent")
        time_out(served, "/hopeless-task", how="shield")
        answer = waiting.result()
    assert (answer.status, answer.json()) == (200, 2)


def test_a_queue_behind_a_kill_is_served(served: Served) -> None:
    """Jobs queued behind an attempt that has to be killed are served by the replacement worker."""
    with in_background() as submit, worker_is_replaced(served, "inline"):
        stuck = submit(time_out, served, "/hopeless", how="swallow")
        wait_running(served, "hopeless")
        answers = [future.result() for future in [submit(served.post_json, "/inline-pid", {}) for _ in range(5)]]
        stuck.result()
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json() for answer in answers}) == 1
    # Answered as soon as there was a worker for them: after deadline, grace and a fork.
    assert max(answer.seconds for answer in answers) < EXECUTION + GRACE + 1.0


# ---- threads


def test_a_thread_that_looks_is_stopped_by_its_context(served: Served, marks: Path) -> None:
    """Code in a thread that calls ``ctx.check()`` ends by that, and the worker goes on."""
    with worker_is_reused(served, "threads"):
        job = time_out(served, "/willing-thread")
    assert seen_by(marks, job) == "Cancelled"


def test_a_generator_in_a_thread_is_closed_between_chunks(served: Served, marks: Path) -> None:
    """A stream that runs in a thread is stopped at its next ``yield``, and the worker goes on."""
    with worker_is_reused(served, "threads"):
        job = time_out_stream(served, "/stream-thread")
    assert seen_by(marks, job) == "GeneratorExit"


def test_a_stuck_thread_retires_its_worker(served: Served) -> None:
    """A thread cannot be interrupted: after the grace its worker takes nothing new, and is replaced."""
    with worker_is_replaced(served, "threads"):
        time_out(served, "/stuck-thread")


def test_what_runs_beside_a_stuck_thread_is_finished(served: Served) -> None:
    """A worker with a stuck thread is ended only after the others in it are done: they are not run again."""
    pid = worker_pid(served, "threads")
    seconds = EXECUTION + GRACE + 0.7
    with in_background() as submit, worker_is_replaced(served, "threads"):
        beside = submit(served.post_json, "/neighbour", {"seconds": seconds})
        wait_running(served, "neighbour")
        time_out(served, "/stuck-thread")
        answer = beside.result()
    assert (answer.status, answer.json()) == (200, [pid, 1])
