"""Batches: when they go, what each member is answered, and what becomes of those that do not stay to the end."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import assert_problem, in_background, new_id, wait_idle, worker_pid
from tests.serving import ROOT, Answer, Served, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

MAX_WAIT = 1.0  # the max_wait of /patient
PATIENCE = 2.0  # the timeout of the members of /total and /queue
MEMBER_TOTAL = 4.0  # the total timeout of /mortal
LATENESS_SECONDS = 1.0  # the machine is shared
LARGE = 100_000  # characters: more than is validated before queueing
SOON_SECONDS = 2.0


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def served(marks: Path) -> Iterator[Served]:
    target = ROOT / "tests" / "e2e" / "apps" / "batching_app.py"
    with Served(target, "--debug", "--log-format", "json", environment={FOLDER_VARIABLE: str(marks)}) as served:
        yield served


@pytest.fixture
def name() -> str:
    return new_id()


def together(served: Served, path: str, items: Sequence[Any]) -> list[Answer]:
    """Post all items at once, and return their answers in the same order."""
    with in_background() as run:
        return [future.result() for future in [run(served.post_json, path, item) for item in items]]


def test_several_parameters_are_fields(served: Served) -> None:
    """Two lists are two fields of each body; each client receives its own result."""
    answers = together(served, "/columns", [{"text": "a", "times": 2}, {"times": 3.0, "text": "b"}])
    assert [answer.json() for answer in answers] == ["2: aa", "2: bbb"]
    assert served.post_json("/columns", "a").status == 422


def outcomes(answers: Sequence[Answer]) -> list[Any]:
    """Return each answer's value, or its status if it is an error."""
    return [answer.json() if answer.status == 200 else answer.status for answer in answers]


def wait_queued(served: Served, endpoint: str, count: int) -> None:
    """Wait until ``count`` jobs of the endpoint are queued for a batch."""
    wait_until(lambda: served.status()["endpoints"][endpoint]["queued"] == count, f"{count} queued in {endpoint}")


def queue_seconds(answer: Answer) -> float:
    """Return the seconds for which the job was queued, according to its ``Server-Timing``."""
    timing = dict(part.strip().split(";dur=") for part in answer.headers["server-timing"].split(","))
    return float(timing["queue"]) / 1e3


# ---- when a batch goes


def test_a_full_batch_goes_at_once(served: Served) -> None:
    """A batch of ``max_size`` waits for nothing more, and each member has the answer to its own item."""
    answers = together(served, "/full", [1, 2, 3, 4])
    assert [answer.json() for answer in answers] == [{"size": 4, "square": n**2} for n in (1, 2, 3, 4)]


def test_no_batch_is_larger_than_max_size(served: Served) -> None:
    """Whatever comes at once is cut into batches of ``max_size``."""
    answers = together(served, "/full", range(12))
    assert [answer.json() for answer in answers] == [{"size": 4, "square": n**2} for n in range(12)]


def test_a_lone_job_waits_for_max_wait(served: Served) -> None:
    """A job that finds no company goes after ``max_wait``, alone."""
    answer = served.post_json("/patient", 1)
    assert answer.json() == 1
    assert MAX_WAIT <= queue_seconds(answer) < MAX_WAIT + LATENESS_SECONDS
    assert answer.seconds < MAX_WAIT + 1.5 * LATENESS_SECONDS


def test_max_wait_counts_from_the_first_job(served: Served) -> None:
    """A job that joins does not prolong the wait: the batch goes ``max_wait`` after its first."""
    with in_background() as run:
        first = run(served.post_json, "/patient", 1)
        wait_queued(served, "patient", 1)
        time.sleep(MAX_WAIT / 2)  # this is the rule: the second comes later
        second = served.post_json("/patient", 2)
        assert [first.result().json(), second.json()] == [2, 2]
        assert queue_seconds(second) < MAX_WAIT <= queue_seconds(first.result())


@pytest.mark.parametrize("endpoint", ["total", "queue"])
def test_no_batch_waits_past_the_deadline_of_a_member(served: Served, endpoint: str) -> None:
    """A member's timeout that is shorter than ``max_wait`` shortens the wait, and leaves time to run in."""
    answer = served.post_json(f"/{endpoint}", 1)
    assert (answer.status, answer.json()) == (200, 1)
    assert answer.seconds < PATIENCE


# ---- what comes back


def test_one_bad_item_fails_alone(served: Served) -> None:
    """An exception in the place of a result is that member's ``handler-error``; the others have their results."""
    answers = together(served, "/roots", [4.0, -1.0, 9.0, 16.0])
    bad = assert_problem(answers.pop(1), "handler-error", 500, retry=False)
    assert "-1.0 has no root" in bad["detail"]
    assert outcomes(answers) == [2.0, 3.0, 4.0]


def test_one_unsendable_result_fails_alone(served: Served) -> None:
    """A result that cannot be encoded is that member's error, which names the type; the others have theirs."""
    answers = together(served, "/unsendable", [1, -1, 2, 3])
    bad = assert_problem(answers.pop(1), "handler-error", 500, retry=False)
    assert "object" in bad["detail"]
    assert outcomes(answers) == [1, 2, 3]


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("short", "predict returned 3 results for a batch of 4"),
        ("alone", "predict returned a int for a batch of 4"),
        ("raises", "no batch pleases me"),
    ],
)
def test_a_batch_without_its_results_fails_whole(served: Served, endpoint: str, why: str) -> None:
    """A wrong length, no list at all, or an exception fails every member; with ``--debug`` each response says why."""
    for answer in together(served, f"/{endpoint}", [1, 2, 3, 4]):
        assert why in assert_problem(answer, "handler-error", 500, retry=False)["detail"]
    assert [event for event in served.events("handler-error") if why in event["message"]]


# ---- what goes in


def test_an_invalid_item_never_joins_a_batch(served: Served) -> None:
    """An item that does not fit is refused with a 422 by itself, at once, and takes no place in the batch."""
    with in_background() as run:
        waiting = [run(served.post_json, "/full", number) for number in (1, 2, 3)]
        wait_queued(served, "full", 3)
        assert served.post_json("/full", "one").status == 422
        wait_queued(served, "full", 3)
        assert served.post_json("/full", 4).json() == {"size": 4, "square": 16}
        assert [future.result().json()["size"] for future in waiting] == [4, 4, 4]


def test_an_invalid_item_that_was_too_large_to_look_at_fails_alone(served: Served) -> None:
    """A large item is validated in the worker: its 422 costs the others nothing, and the model sees them alone."""
    large = {"title": "large", "text": "a" * LARGE}
    invalid = {"title": 7, "text": "a" * LARGE}
    answers = together(served, "/pages", [large, invalid, {"title": "b"}, {"title": "c"}])
    refused = answers.pop(1)
    assert refused.status == 422
    assert refused.json()["errors"][0]["path"] == "$.title"
    assert outcomes(answers) == [
        {"title": "LARGE", "text": f"{LARGE} letters, 3 pages"},
        {"title": "B", "text": "0 letters, 3 pages"},
        {"title": "C", "text": "0 letters, 3 pages"},
    ]


def test_raw_bodies_are_batched(served: Served) -> None:
    """With ``list[bytes]`` each item is one raw body, and each result of bytes an octet stream."""
    bodies = [b"abc", b"\x00\xff", b"", b"x" * LARGE]
    with in_background() as run:
        answers = [future.result() for future in [run(served.post, "/raw", body) for body in bodies]]
    assert [(answer.status, answer.body) for answer in answers] == [(200, body[::-1]) for body in bodies]
    assert {answer.headers["content-type"] for answer in answers} == {"application/octet-stream"}


def test_async_batches_run_side_by_side(served: Served) -> None:
    """With ``concurrency=2`` an async handler has two batches at once in one worker."""
    assert outcomes(together(served, "/meeting", ["a", "b", "c", "d"])) == [2, 2, 2, 2]


# ---- members that die before their batch ends


def leave_early(served: Served, endpoint: str, item: str) -> socket.socket:
    """Post an item on a connection that the caller may close; return once it is queued."""
    client = served.connect()
    body = json.dumps(item).encode()
    client.sendall(b"POST /%b HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % (endpoint.encode(), len(body)))
    client.sendall(body)
    wait_queued(served, endpoint, 1)
    return client


def wait_live(served: Served, endpoint: str, count: int) -> None:
    """Wait until ``count`` members of the running batch still have a caller."""
    wait_until(lambda: served.status()["endpoints"][endpoint]["running"] == count, f"{count} alive in {endpoint}")


@pytest.mark.parametrize("endpoint", ["held", "held_async"])
def test_a_batch_goes_on_without_a_member_that_left(served: Served, marks: Path, name: str, endpoint: str) -> None:
    """A member whose client goes away takes nothing from the others: its result is thrown away, they get theirs."""
    with in_background() as run, leave_early(served, endpoint, name) as first:
        second = run(served.post_json, f"/{endpoint}", "second")
        wait_until((marks / f"{name}.began").exists, "the batch")
        first.close()
        wait_live(served, endpoint, 1)
        (marks / f"{name}.release").touch()
        assert (second.result().status, second.result().json()) == (200, "second")
    assert (marks / f"{name}.ended").exists()
    assert not (marks / f"{name}.stopped").exists()


@pytest.mark.parametrize("endpoint", ["held", "held_async"])
def test_a_batch_is_interrupted_when_its_last_member_has_left(
    served: Served, marks: Path, name: str, endpoint: str
) -> None:
    """A batch is stopped once no caller waits for it, by an interrupt: its worker lives and goes on serving."""
    pid = worker_pid(served, endpoint)
    with leave_early(served, endpoint, name) as first, served.connect() as second:
        second.sendall(b'POST /%b HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\n"second"' % endpoint.encode())
        wait_until((marks / f"{name}.began").exists, "the batch")
        first.close()
        wait_live(served, endpoint, 1)
        assert [worker["attempts"][0]["state"] for worker in served.status()["pools"][endpoint]["workers"]] == [
            "running"
        ]
        assert not (marks / f"{name}.stopped").exists()
        second.close()
        wait_until((marks / f"{name}.stopped").exists, "the interrupt", timeout=SOON_SECONDS)
    wait_idle(served, endpoint)
    assert worker_pid(served, endpoint) == pid


def test_a_member_whose_time_is_up_is_answered_and_the_others_wait_on(served: Served, marks: Path, name: str) -> None:
    """At its deadline a member has its 504, while its batch runs on for those that joined later, and have longer."""
    with in_background() as run:
        first = run(served.post_json, "/mortal", name)
        wait_queued(served, "mortal", 1)
        time.sleep(MEMBER_TOTAL * 0.3)  # this is the rule: the second has so much longer to live
        second = run(served.post_json, "/mortal", "second")
        assert_problem(first.result(), "total-timeout", 504, retry=False)
        assert MEMBER_TOTAL <= first.result().seconds < MEMBER_TOTAL + LATENESS_SECONDS
        assert (marks / f"{name}.began").exists()
        assert not (marks / f"{name}.stopped").exists()
        (marks / f"{name}.release").touch()
        assert (second.result().status, second.result().json()) == (200, "second")
