from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import (
    LATENESS_SECONDS,
    SteadyClient,
    assert_on_time,
    assert_problem,
    in_background,
    new_id,
    read_stream,
    seconds_between,
    wait_event,
    wait_idle,
    wait_running,
    worker_pid,
    worker_pids,
)
from tests.serving import Served, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

# The timeouts that the endpoints of the app declare.
EXECUTION = FIRST_CHUNK = IDLE = QUEUE = 0.5
TOTAL = 0.8
STUBBORN_EXECUTION, STUBBORN_GRACE = 0.4, 0.6


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def server(marks: Path) -> Iterator[Served]:
    environment = {FOLDER_VARIABLE: str(marks)}
    with Served("tests/e2e/apps/deadlines.py:app", "--log-format", "json", environment=environment) as served:
        for pool in ("fast", "roomy", "tasks", "lone", "queue", "grace"):
            worker_pids(served, pool)
        yield served


@pytest.fixture
def served(server: Served) -> Iterator[Served]:
    """The server, with a client of another pool during the test that must not notice anything."""
    wait_idle(server, "lone")
    with SteadyClient(server, "/fast"):
        yield server


# ---- execution


def test_execution_is_over_at_its_deadline(served: Served) -> None:
    """The client of an attempt that takes too long has a 504 at the deadline; the next request is served."""
    answer = served.post_json("/execution", {"seconds": 60})
    assert_on_time(answer.seconds, EXECUTION)
    document = assert_problem(answer, "execution-timeout", 504, retry=False)
    assert "0.5 s" in document["detail"]
    assert served.post_json("/execution", {"seconds": 0}).status == 200


def test_what_ends_before_its_deadline_is_not_touched(served: Served) -> None:
    """Work that takes nearly all of its time is answered with its result."""
    answer = served.post_json("/execution", {"seconds": EXECUTION - LATENESS_SECONDS})
    assert (answer.status, answer.json()) == (200, EXECUTION - LATENESS_SECONDS)


def test_the_other_workers_of_the_pool_go_on(served: Served) -> None:
    """While one of two workers is stuck until its deadline, the other one serves as if nothing were."""
    with SteadyClient(served, "/fast-roomy"):
        answer = served.post_json("/execution-roomy", {})
    assert_on_time(answer.seconds, EXECUTION)
    assert_problem(answer, "execution-timeout", 504, retry=False)


def test_the_other_tasks_of_the_worker_go_on(served: Served) -> None:
    """While a task waits for its deadline, the other tasks in the same worker are served as if nothing were."""
    with SteadyClient(served, "/fast-task"):
        answer = served.post_json("/execution-task", {})
    assert_on_time(answer.seconds, EXECUTION)
    assert_problem(answer, "execution-timeout", 504, retry=False)


def test_each_of_several_deadlines_is_kept(served: Served) -> None:
    """Attempts that began at different instants end at different instants, each at its own deadline."""
    with in_background() as submit:
        futures = []
        for count in range(1, 4):
            futures.append(submit(served.post_json, "/execution-task", {}))
            wait_running(served, "execution-task", count)
        answers = [future.result() for future in futures]
    for answer in answers:
        assert_on_time(answer.seconds, EXECUTION)
        assert_problem(answer, "execution-timeout", 504, retry=False)


# ---- queue


@pytest.mark.parametrize("how", ["sleep", "hold_the_gil", "swallow"])
def test_the_queue_time_out_fires_behind_a_stuck_predict(served: Served, how: str) -> None:
    """A job behind an attempt that is stuck, in any way, is refused at its queue timeout, as safe to retry.

    The pool serves again once the stuck attempt has been stopped or killed.
    """
    worker_pid(served, "queue")
    with in_background() as submit:
        stuck = submit(served.post_json, "/stuck", {"how": how})
        wait_running(served, "stuck")
        answers = [future.result() for future in [submit(served.post_json, "/impatient", {}) for _ in range(3)]]
        for answer in answers:
            assert_on_time(answer.seconds, QUEUE)
            assert_problem(answer, "queue-timeout", 503, retry=True)
        assert_problem(stuck.result(), "execution-timeout", 504, retry=False)
        assert_on_time(stuck.result().seconds, 1.0)
    assert served.post_json("/impatient", {}).status == 200


# ---- total


def test_total_is_counted_from_the_arrival(served: Served, marks: Path) -> None:
    """The time in the queue counts towards ``total``, so the attempt has what is left of it."""
    gate = new_id()
    with in_background() as submit:
        submit(served.post_json, "/hold", {"until": gate})
        wait_running(served, "hold")
        waiting = submit(served.post_json, "/total", {"seconds": 60})
        wait_until(lambda: served.status()["endpoints"]["total"]["queued"], "the job in the queue")
        time.sleep(TOTAL / 4)  # no hope in it: the time in the queue that the deadline is to include
        (marks / gate).touch()
        answer = waiting.result()
    assert_on_time(answer.seconds, TOTAL)
    assert_problem(answer, "total-timeout", 504, retry=False)


def test_total_ends_the_wait_in_the_queue(served: Served, marks: Path) -> None:
    """A job whose total time ends before it was started is refused like one that waited too long, as safe to retry."""
    gate = new_id()
    with in_background() as submit:
        submit(served.post_json, "/hold", {"until": gate})
        wait_running(served, "hold")
        answer = served.post_json("/total", {"seconds": 0})
        (marks / gate).touch()
    assert_on_time(answer.seconds, TOTAL)
    assert_problem(answer, "queue-timeout", 503, retry=True)


def test_total_includes_the_attempts_before(served: Served) -> None:
    """A job that runs again, as its worker was lost, has for all attempts together no more than its total time."""
    answer = served.post_json("/die-slowly", {})
    assert_on_time(answer.seconds, TOTAL)
    assert_problem(answer, "total-timeout", 504, retry=False)


# ---- streams


@pytest.mark.parametrize("path", ["/first-chunk", "/first-chunk-async"])
def test_a_first_chunk_that_does_not_come_is_a_504(served: Served, path: str) -> None:
    """Before its first chunk a stream has not begun: the answer is a problem document, at the deadline."""
    answer = served.post_json(path, {"pauses": [60]})
    assert_on_time(answer.seconds, FIRST_CHUNK)
    assert_problem(answer, "execution-timeout", 504, retry=False)


def test_first_chunk_limits_no_other_chunk(served: Served) -> None:
    """Later chunks may take longer than the first one may."""
    stream = read_stream(served, "/first-chunk", {"pauses": [0, FIRST_CHUNK + 0.2]})
    assert (stream.values(), stream.is_whole) == ([0, 1], True)


@pytest.mark.parametrize("path", ["/idle", "/idle-async"])
def test_a_stream_that_falls_silent_ends_with_an_error_line(served: Served, path: str) -> None:
    """At ``idle`` after the last chunk comes a line with the error, and then the connection is cut: no clean end."""
    stream = read_stream(served, path, {"pauses": [0, 0.2, 60]})
    *values, last = stream.values()
    assert (stream.status, values) == (200, [0, 1])
    assert last["error"]["code"] == "execution-timeout"
    assert last["error"]["type"] == "timeout_error"
    assert not stream.is_whole
    assert_on_time(stream.arrivals[-1], 0.2 + IDLE)


def test_silence_in_server_sent_events_is_an_error_event(served: Served) -> None:
    """In server-sent events the error is an event of its own name, and ``event: end`` never comes."""
    stream = read_stream(served, "/idle", {"pauses": [0, 60]}, Accept="text/event-stream")
    assert "event: error" in stream.lines
    assert "event: end" not in stream.lines
    assert not stream.is_whole


def test_idle_is_counted_from_chunk_to_chunk(served: Served) -> None:
    """A stream with a pause shorter than ``idle`` before each chunk goes on for longer than ``idle``, to its end."""
    stream = read_stream(served, "/idle", {"pauses": [0.2] * 5})
    assert stream.seconds > 2 * IDLE - 0.01
    assert (stream.values(), stream.is_whole) == ([0, 1, 2, 3, 4], True)


@pytest.mark.parametrize(("path", "code"), [("/endless", "execution-timeout"), ("/endless-total", "total-timeout")])
def test_a_stream_that_never_falls_silent_is_stopped_too(served: Served, path: str, code: str) -> None:
    """``execution`` and ``total`` hold for a stream however many chunks it sends."""
    stream = read_stream(served, path, {})
    *values, last = stream.values()
    assert values == list(range(len(values)))
    assert len(values) > 1
    assert last["error"]["code"] == code
    assert_on_time(stream.arrivals[-1], EXECUTION)
    assert not stream.is_whole


# ---- grace


def test_the_client_does_not_wait_for_the_grace(served: Served) -> None:
    """The answer comes at the deadline; a handler that does not stop is killed ``grace`` later, and then replaced."""
    pid = worker_pid(served, "grace")
    job = new_id()
    answer = served.post_json("/stubborn", {}, headers={"X-Request-Id": job})
    assert_on_time(answer.seconds, STUBBORN_EXECUTION)
    assert_problem(answer, "execution-timeout", 504, retry=False)
    assert served.post_json("/grace-pid", {}).json() != pid
    interrupted, killed = wait_event(served, "interrupt", request_id=job), wait_event(served, "kill", pid=pid)
    assert_on_time(seconds_between(interrupted, killed) + 0.001, STUBBORN_GRACE)  # the log cuts off what is below


def test_who_stops_within_the_grace_is_not_killed(served: Served, marks: Path) -> None:
    """A handler may take its time to clean up: the client has gone at the deadline, and the worker lives on."""
    pid = worker_pid(served, "grace")
    job = new_id()
    answer = served.post_json("/slow-to-stop", {}, headers={"X-Request-Id": job})
    assert_on_time(answer.seconds, STUBBORN_EXECUTION)
    assert not (marks / job).exists()
    assert served.post_json("/grace-pid", {}).json() == pid
    assert (marks / job).exists()


# ---- what the operator sees


def test_each_time_out_is_counted_and_told(served: Served) -> None:
    """A timeout is in the totals of its endpoint, and a line of the log names the job, the worker and the cause."""
    totals: dict[str, Any] = served.status()["endpoints"]["execution"]["totals"]
    job = new_id()
    served.post_json("/execution", {"seconds": 60}, headers={"X-Request-Id": job})
    after = served.status()["endpoints"]["execution"]["totals"]
    assert after["execution-timeout"] == totals.get("execution-timeout", 0) + 1
    interrupted = wait_event(served, "interrupt", request_id=job)
    assert (interrupted["endpoint"], interrupted["worker"], interrupted["why"]) == ("execution", "lone/0", "execution")
    assert EXECUTION <= interrupted["running_seconds"] < EXECUTION + LATENESS_SECONDS
    assert wait_event(served, "execution-timeout", request_id=job)["level"] == "warning"
