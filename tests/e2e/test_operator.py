"""The operator's view: event lines in JSON and in text, the users' own output, the status page, the probes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.watching import new_id, wait_event, wait_running, worker_pid
from tests.serving import Served, wait_until

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "apps" / "operator_app.py"
FRAMES_OF_OURS = re.compile(r'File "[^"]*[/\\](?:penstock\w*|gunicorn|falcon|trio)[/\\]')
TEXT_LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) +[\w.-]+  ")


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with Served(APP, "--log-format", "json") as served:
        yield served
        assert_every_line_is_an_event(served)


@pytest.fixture(scope="module")
def text_server() -> Iterator[Served]:
    with Served(APP) as served:
        yield served


def assert_every_line_is_an_event(served: Served) -> None:
    for line in served.log_lines():
        event = json.loads(line)
        assert {"time", "level", "event", "message"} <= event.keys()
        assert datetime.fromisoformat(event["time"]).tzinfo is not None
        assert event["level"] in {"info", "warning", "error", "critical"}


def ask(served: Served, path: str, value: Any, status: int = 200) -> str:
    """Post JSON under an id of its own, which is returned."""
    job = new_id()
    answer = served.post_json(path, value, headers={"X-Request-Id": job})
    assert answer.status == status, answer.body
    return job


def wait_outputs(served: Served, *lines: str) -> list[dict[str, Any]]:
    """Wait until user code's lines have come out, each whole and in this order, and return their events."""

    def found() -> list[dict[str, Any]]:
        events = [event for event in served.events("output") if event["message"] in lines]
        return events if [event["message"] for event in events][-len(lines) :] == list(lines) else []

    return wait_until(found, f"the output {[line[:60] for line in lines]}")[-len(lines) :]


# ---- one line for each event that matters


def test_every_line_is_json(server: Served) -> None:
    """With ``--log-format json`` each line, from any source, is an object with time, level, event and message."""
    ask(server, "/say", {"text": '{"not": "an event"'})
    ask(server, "/fail", {"text": "two\nlines"}, 500)
    assert_every_line_is_an_event(server)


def test_the_start_is_told(server: Served) -> None:
    """Address, endpoints, and when each worker and pool is ready, with how long it took."""
    (listening,) = server.events("listening")
    assert listening["url"] == server.base_url
    assert {"/echo", "/hold", "/die"} <= {event["path"] for event in server.events("endpoint")}
    pools = {event["pool"]: event for event in server.events("pool-ready")}
    assert pools.keys() == {"default", "held", "mortal"}
    assert all(event["seconds"] >= 0 and event["workers"] == 1 for event in pools.values())
    ready = server.events("worker-ready")
    assert {event["worker"] for event in ready} >= {"default/0", "held/0", "mortal/0"}
    assert all(event["pid"] > 0 and event["seconds"] >= 0 for event in ready)


def test_requests_write_nothing(server: Served) -> None:
    """Answered, refused or not found: a request as such leaves no line."""
    ask(server, "/echo", {"value": 0})
    before = server.log_lines()
    for value in range(20):
        ask(server, "/echo", {"value": value})
        ask(server, "/echo", {"value": "x"}, 422)
        assert server.get("/nowhere").status == 404
    assert server.log_lines() == before


def test_an_interrupt_is_one_line(server: Served) -> None:
    """With the job, the endpoint, the worker, why, and how long it had run; the timeout is another."""
    pid = worker_pid(server, "default")
    job = ask(server, "/sleep", {}, 504)
    interrupt = wait_event(server, "interrupt", request_id=job)
    assert interrupt["endpoint"] == "sleep"
    assert (interrupt["worker"], interrupt["pid"]) == ("default/0", pid)
    assert interrupt["why"] == "execution"
    assert interrupt["running_seconds"] >= 0.3
    timed_out = wait_event(server, "execution-timeout", request_id=job)
    assert timed_out["endpoint"] == "sleep"
    assert timed_out["queue_seconds"] >= 0
    assert timed_out["execution_seconds"] >= 0.3
    assert [event["event"] for event in server.events() if event.get("request_id") == job].count("interrupt") == 1


def test_a_kill_is_told_with_its_reason_and_its_replacement(server: Served) -> None:
    """A job that does not stop within its grace has overstayed; its worker is killed and replaced."""
    pid = worker_pid(server, "default")
    job = ask(server, "/stuck", {}, 504)
    overstayed = wait_event(server, "overstayed", request_ids=[job])
    assert (overstayed["endpoint"], overstayed["worker"], overstayed["pid"]) == ("stuck", "default/0", pid)
    assert overstayed["running_seconds"] >= 0.6
    kill = wait_event(server, "kill", request_ids=[job])
    assert (kill["endpoints"], kill["worker"], kill["pid"]) == (["stuck"], "default/0", pid)
    assert "did not stop" in kill["reason"]
    assert kill["running_seconds"] >= 0.6
    restarts = [event["restarts"] for event in server.events("restart") if event["worker"] == "default/0"]
    assert restarts == list(range(1, len(restarts) + 1))
    assert worker_pid(server, "default") != pid


def test_a_lost_worker_is_told_with_the_jobs_it_had(server: Served) -> None:
    """Its process, how it ended, what it did; and the back-off of its replacement: none at first, then longer."""
    pid = worker_pid(server, "mortal")
    job = ask(server, "/die", {}, 503)
    lost = wait_event(server, "worker-lost", pid=pid)
    assert (lost["worker"], lost["reason"]) == ("mortal/0", "exit code 7")
    assert (lost["request_ids"], lost["endpoints"]) == ([job], ["die"])
    assert lost["running_seconds"] >= 0
    pid = worker_pid(server, "mortal")
    os.kill(pid, signal.SIGKILL)
    lost = wait_event(server, "worker-lost", pid=pid)
    assert lost["reason"] == "signal SIGKILL"
    assert not {"request_ids", "endpoints", "running_seconds"} & lost.keys()  # it had nothing in hand
    restarts = [event for event in server.events("restart") if event["worker"] == "mortal/0"]
    assert [event["backoff"] for event in restarts] == [0, 1]
    assert server.get("/readyz").status == 503
    wait_until(lambda: server.get("/readyz").status == 200, "the replacement")


# ---- the users' own words


def test_what_an_import_prints_is_marked(server: Served) -> None:
    """The module is imported by the HTTP process and by the zygote: both print, and a log record is shown once."""

    def workers(text: str) -> list[str | None]:
        return sorted(event.get("worker") for event in server.events() if event["message"] == text)

    assert workers("printed while it was imported") == ["http", "zygote"]
    assert len(workers("logged while it was imported")) == 1


def test_what_a_handler_prints_is_one_marked_line(server: Served) -> None:
    """Also what it writes to stderr, or has a child process write. Log records have events of their own."""
    ask(server, "/say", {"text": "a word from the model"})
    job = ask(server, "/log", {"text": "a warning"})
    events = wait_outputs(server, "a word from the model", "on stderr", "from a child")
    assert {event["worker"] for event in events} == {"default/0"}
    record = wait_event(server, "operator_app", request_id=job)
    assert (record["message"], record["level"], record["worker"]) == ("logged: a warning", "warning", "default/0")


def test_a_line_may_come_in_pieces(server: Served) -> None:
    """A line is logged whole, once it has ended."""
    ask(server, "/say", {"text": "piece by ", "end": ""})
    ask(server, "/say", {"text": "piece"})
    wait_outputs(server, "piece by piece")


def test_a_long_line_comes_whole(server: Served) -> None:
    """A line that takes many writes into the pipe is one line of the log; of a giant one, no byte is missing."""
    ask(server, "/say", {"text": "long " + "x" * 60_000})
    wait_outputs(server, "long " + "x" * 60_000)
    ask(server, "/say", {"text": "y" * 300_000})
    wait_until(
        lambda: sum(len(e["message"]) for e in server.events("output") if e["message"][:1] == "y") == 300_000, "y"
    )


def test_many_lines_keep_their_order(server: Served) -> None:
    """However fast they come."""
    body = b"".join(b"line %d\n" % number for number in range(5000))
    assert server.post("/say-bytes", body).status == 200
    wait_outputs(server, *(f"line {number}" for number in range(5000)))


def test_bytes_that_are_not_text_are_spelt_out(server: Served) -> None:
    """Bytes that are not UTF-8, and control characters, can break neither the line nor the JSON."""
    assert server.post("/say-bytes", b"caf\xe9 \xff\x00\x1b[31m\r\n").status == 200
    wait_outputs(server, "caf\\xe9 \\xff\x00\x1b[31m")


def test_what_was_not_yet_a_line_comes_out_at_the_end(server: Served) -> None:
    """The last output of a worker is logged even if no newline follows it."""
    ask(server, "/say", {"text": "last words", "end": ""})
    os.kill(worker_pid(server, "default"), signal.SIGKILL)
    wait_outputs(server, "last words")


def test_a_traceback_is_the_users(server: Served) -> None:
    """A traceback goes from the handler to the line that raised, causes included, without frames of other code."""
    job = ask(server, "/fail", {"text": "broken"}, 500)
    event = wait_event(server, "handler-error", request_id=job)
    assert event["message"] == "fail raised ValueError: broken"
    assert event["endpoint"] == "fail"
    traceback = event["traceback"]
    assert traceback.splitlines()[-1] == "ValueError: broken"
    assert re.findall(r"File .*, in (\w+)", traceback) == ["fail", "_inner", "fail"]
    assert not FRAMES_OF_OURS.search(traceback)


def test_a_traceback_ends_where_the_users_code_calls_penstock(server: Served) -> None:
    """The frames behind that call are ours, and are left out."""
    job = ask(server, "/wrong-answer", {}, 500)
    traceback = wait_event(server, "handler-error", request_id=job)["traceback"]
    assert re.findall(r"File .*, in (\w+)", traceback) == ["wrong_answer"]
    assert not FRAMES_OF_OURS.search(traceback)


# ---- no client can forge log lines


FORGED = (
    'x\n{"time": "now", "level": "info", "event": "forged", "message": "x"}'
    "\r\n09:00:00.000 INFO    forged  \u2028y\x1b[2J"
)


@pytest.mark.parametrize("mode", ["json", "text"])
def test_no_line_can_be_forged(server: Served, text_server: Served, mode: str) -> None:
    """Line breaks and escapes in a body that an exception quotes, and odd request ids, start no line of the log."""
    served = server if mode == "json" else text_server
    ask(served, "/fail", {"text": FORGED}, 500)
    served.post_json("/fail", {"text": "end"}, headers={"X-Request-Id": 'a" event="forged'})
    served.wait_for_line("ValueError: end")
    assert not [event for event in served.events() if event["event"] == "forged"]
    assert not [line for line in served.log_lines() if line.startswith(("09:00:00.000", '{"time": "now"'))]
    assert "\x1b" not in served.output()


def test_what_is_printed_can_not_be_taken_for_an_event(text_server: Served) -> None:
    """A printed line that looks like one of ours is marked as output all the same."""
    ask(text_server, "/say", {"text": "09:00:00.000 INFO    pool-ready  pool default is ready\nnext"})
    text_server.wait_for_line("output  next")
    assert not [line for line in text_server.log_lines() if line.startswith("09:00:00.000")]


# ---- as text


def test_text_says_the_same(text_server: Served) -> None:
    """Each event is a line with its time, level, name, sentence and fields; only tracebacks follow, indented."""
    job = ask(text_server, "/stuck", {}, 504)
    text_server.wait_for_line("restart")
    lines = text_server.log_lines()
    assert all(TEXT_LINE.match(line) or line.startswith("    ") for line in lines)
    for name, field in [
        ("interrupt", f"request_id={job}"),
        ("overstayed", "request_ids="),
        ("kill", "worker=default/0"),
    ]:
        (line,) = [line for line in lines if re.match(rf"\S+ [A-Z]+ +{name}  ", line)]
        assert field in line
    assert any("pool default ready in" in line for line in lines)
    assert any("output  printed while it was imported  [worker=zygote]" in line for line in lines)


def test_text_shows_the_users_frames_below_the_line(text_server: Served) -> None:
    """Indented, so that no line of a traceback can be taken for an event."""
    ask(text_server, "/fail", {"text": "text mode"}, 500)
    lines = wait_until(
        lambda: [line for line in text_server.log_lines() if line.endswith("ValueError: text mode")], "the traceback"
    )
    assert lines == ["    ValueError: text mode"]
    assert not FRAMES_OF_OURS.search(text_server.output())


# ---- pages


def test_the_status_page_shows_pools_workers_and_endpoints(server: Served) -> None:
    """Workers with id, pid, state, since when, restarts and attempt; endpoints with counts, outcomes and quantiles."""
    wait_until(lambda: server.get("/readyz").status == 200, "all pools")
    pid = worker_pid(server, "held")
    with ThreadPoolExecutor(2) as threads:
        held = [threads.submit(ask, server, "/hold", {"seconds": 0.5}) for _ in range(2)]
        wait_running(server, "hold")
        wait_until(lambda: server.status()["endpoints"]["hold"]["queued"] == 1, "the second in the queue")
        status = server.status()
        ids = [future.result() for future in held]
    assert (status["ready"], status["reasons"], status["draining"]) == (True, [], False)
    assert status["pools"].keys() == {"default", "held", "mortal"}
    (worker,) = status["pools"]["held"]["workers"]
    assert (worker["id"], worker["pid"], worker["state"], worker["restarts"]) == ("held/0", pid, "busy", 0)
    assert worker["since"] >= 0
    (attempt,) = worker["attempts"]
    assert (attempt["endpoint"], attempt["state"]) == ("hold", "running")
    assert attempt["jobs"][0] in ids
    assert status["endpoints"]["hold"]["running"] == 1
    after = server.status()["endpoints"]["hold"]
    assert after["totals"] == {"ok": 2}
    assert after["execution_seconds"]["p50"] >= 0.5
    assert after["queue_seconds"]["p99"] > after["queue_seconds"]["p50"] >= 0


def test_the_totals_are_by_outcome(server: Served) -> None:
    """Every answered job is counted once, under what became of it."""
    before = server.status()["endpoints"]["fail"]["totals"].get("handler-error", 0)
    for _ in range(3):
        ask(server, "/fail", {"text": "x"}, 500)
    assert server.status()["endpoints"]["fail"]["totals"] == {"handler-error": before + 3}


@pytest.mark.parametrize(("path", "document"), [("/livez", {"status": "ok"}), ("/readyz", {"status": "ready"})])
def test_the_probes_answer_200(server: Served, path: str, document: dict[str, str]) -> None:
    """GET and HEAD, on a kept-alive connection, with a request id like every other response."""
    wait_until(lambda: server.get("/readyz").status == 200, "all pools")
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    for method in ("GET", "HEAD", "GET"):
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200
        assert response.headers["x-request-id"]
        assert method == "HEAD" or json.loads(body) == document
    connection.close()


def test_readyz_says_why_not(server: Served) -> None:
    """While a pool has no worker it is a 503 with the reason, and the process is alive all the same."""
    wait_until(lambda: server.get("/readyz").status == 200, "all pools")
    for _ in range(2):  # the second one in a row is replaced with a delay
        pid = worker_pid(server, "held")
        os.kill(pid, signal.SIGKILL)
        wait_event(server, "worker-lost", pid=pid)
    answer = server.get("/readyz")
    assert answer.status == 503
    assert any("held" in reason for reason in answer.json()["reasons"])
    assert server.get("/livez").status == 200
    assert ask(server, "/echo", {"value": 1})
    wait_until(lambda: server.get("/readyz").status == 200, "the replacement")
