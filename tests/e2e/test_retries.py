"""Retries on a real server: each way of running, what is tried again and what is not, and what may come between."""

from __future__ import annotations

import json
import signal
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
)
from tests.serving import ROOT, Served, wait_until

pytestmark = pytest.mark.e2e

SOON_SECONDS = 1.5  # the machine is shared; the deadline that is not waited for is 2 s, and the delay an hour


def serving(folder: Path, **variables: str) -> Served:
    target = ROOT / "tests" / "e2e" / "apps" / "retries_app.py"
    environment = {FOLDER_VARIABLE: str(folder), **variables}
    return Served(target, "--log-format", "json", environment=environment)


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def served(marks: Path) -> Iterator[Served]:
    with serving(marks) as served:
        yield served


def backing_off(served: Served, endpoint: str) -> int:
    count: int = served.status()["endpoints"][endpoint]["backing_off"]
    return count


# ---- each way of running


@pytest.mark.parametrize("path", ["/inline", "/task", "/nursery", "/thread"])
def test_what_is_named_is_tried_again(served: Served, path: str) -> None:
    """The caller sees one answer, and the handler knows which attempt it is."""
    assert served.post_json(path, {"until": 3}).json() == 3


@pytest.mark.parametrize("path", ["/inline", "/task", "/nursery", "/thread"])
def test_attempts_are_bounded(served: Served, path: str) -> None:
    """After the last one the caller gets the error of that one, as if there had been no others."""
    name = new_id()
    answer = served.post_json(path, {"until": 9}, headers={"X-Request-Id": name})
    assert_problem(answer, "handler-error", 500, retry=False)
    told = wait_event(served, "handler-error", request_id=name)
    assert told["attempt"] == 4
    assert "attempt 4 finds nobody there" in told["traceback"]


@pytest.mark.parametrize("path", ["/stream", "/task-stream", "/thread-stream"])
def test_a_stream_is_tried_again_until_its_first_chunk(served: Served, path: str) -> None:
    """A stream is retried only before its first chunk: a client that has a chunk sees how that attempt ends."""
    fresh = read_stream(served, path, {"until": 3}, accept="application/x-ndjson")
    assert (fresh.status, fresh.values()) == (200, [3])
    begun = read_stream(served, path, {"until": 2, "chunks": 2}, accept="application/x-ndjson")
    assert begun.values()[:2] == [-1, -1]
    assert 1 not in begun.values()
    assert 2 not in begun.values()


def test_members_of_a_batch_are_tried_again_by_themselves(served: Served) -> None:
    """The item that asks for it, while the others have their answers; or all, if the whole batch has failed."""
    for first in ("again", "all"):
        names = [f"{first}-{new_id()}", f"b-{new_id()}", f"c-{new_id()}"]
        with in_background() as run:
            answers = [future.result() for future in [run(served.post_json, "/batch", name) for name in names]]
        assert [answer.json() for answer in answers] == names
        retried = {event["request_id"] for event in served.events("retry") if event["endpoint"] == "batch"}
        ids = [answer.headers["x-request-id"] for answer in answers]
        assert [name in retried for name in ids] == [True, first == "all", first == "all"]


# ---- what is tried again, and what is not


def test_every_retry_is_one_line(served: Served) -> None:
    """With the endpoint, the request, the attempt that has failed, the delay and the cause."""
    name = new_id()
    served.post_json("/inline", {"until": 3}, headers={"X-Request-Id": name})
    lines = [event for event in served.events("retry") if event["request_id"] == name]
    assert [(line["endpoint"], line["attempt"], line["cause"], line["level"]) for line in lines] == [
        ("inline", 1, "ConnectionResetError", "info"),
        ("inline", 2, "ConnectionResetError", "info"),
    ]
    assert all(0 <= line["delay"] <= limit for line, limit in zip(lines, (0.01, 0.02), strict=True))
    assert "attempt 1 finds nobody there" in lines[0]["message"]


def test_what_is_not_named_is_not_tried_again(served: Served) -> None:
    """A mistake of the code stays one."""
    assert_problem(served.post_json("/lasting", {}), "handler-error", 500, retry=False)


def test_what_is_not_idempotent_is_tried_again_only_if_it_asks(served: Served) -> None:
    """Only the code itself can know that it has done nothing yet."""
    assert_problem(served.post_json("/once", {"until": 2}), "handler-error", 500, retry=False)
    assert served.post_json("/asking", {"delay": 0.0}).json() == 2


@pytest.mark.timed
def test_a_delay_is_kept_to(served: Served) -> None:
    """The handler knows best when it is worth while."""
    answer = served.post_json("/asking", {"delay": 0.5})
    assert answer.json() == 2
    assert_on_time(answer.seconds, 0.5)


@pytest.mark.timed
def test_no_retry_goes_beyond_the_deadline(served: Served) -> None:
    """The failure is the answer, at once."""
    answer = served.post_json("/late", {})
    assert_problem(answer, "handler-error", 500, retry=False)
    assert answer.seconds < SOON_SECONDS


@pytest.mark.timed
def test_the_callers_deadline_counts_as_well(served: Served) -> None:
    """A retry that would come after the caller's deadline is not made: the error is returned at once."""
    answer = served.post_json("/asking", {"delay": 10.0}, headers={"X-Request-Timeout": "5"})
    assert_problem(answer, "handler-error", 500, retry=False)
    assert answer.seconds < SOON_SECONDS


def test_a_budget_bounds_the_retries_of_all(served: Served) -> None:
    """The first ones use it up; then each request is one attempt, and one line says why."""
    answers = [served.post_json("/hopeless", {}) for _ in range(20)]
    assert {answer.status for answer in answers} == {500}
    # Six at the beginning, and the reserve grows back a little while the test runs.
    retried = [event for event in served.events("retry") if event["endpoint"] == "hopeless"]
    assert 6 <= len(retried) <= 6 + 6
    assert wait_event(served, "retry-budget")["endpoint"] == "hopeless"


# ---- what may come between


def test_a_client_that_hangs_up_is_not_worked_for(served: Served, marks: Path) -> None:
    """Its job backs off no longer, and is not begun again."""
    name = new_id()
    body = json.dumps({"name": name, "delay": 1.0}).encode()
    head = f"POST /patient HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with served.connect() as leaving:
        leaving.sendall(head.encode() + b"\r\n\r\n" + body)
        wait_until(lambda: backing_off(served, "patient") == 1, "the job to back off")
    wait_until(lambda: backing_off(served, "patient") == 0, "the job to be cancelled")
    assert served.post_json("/patient", {"name": new_id(), "delay": 1.5}).json() == 2
    assert not (marks / f"{name}-2").exists()


def test_a_drain_waits_for_a_retry(tmp_path: Path) -> None:
    """Admitted work is finished, even if it is backing off when the signal arrives."""
    with serving(tmp_path) as served, in_background() as start:
        call = start(served.post_json, "/patient", {"name": "last", "delay": 1.0})
        wait_until(lambda: backing_off(served, "patient") == 1, "the job to back off")
        served.process.send_signal(signal.SIGTERM)
        assert call.result().json() == 2
        assert served.wait() == 0


def test_the_operator_turns_retries_off(tmp_path: Path) -> None:
    """One setting for all endpoints."""
    with serving(tmp_path, PENSTOCK_RETRIES_MAX_ATTEMPTS="1") as served:
        assert served.post_json("/inline", {"until": 2}).status == 500
        assert served.events("retry") == []
