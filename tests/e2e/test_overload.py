"""Overload on a real server: which callers are served, which are refused at once, and that none is starved."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.watching import assert_problem
from tests.serving import Answer, Served, wait_until, write_app

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

SECONDS = 0.05
PATIENCE = 1.0

SOURCE = f"""
    import time
    from penstock import App, Timeouts

    app = App(__name__)

    @app.endpoint("/work", workers=1)
    def work(name: str = "") -> str:
        time.sleep({SECONDS})
        return name

    @app.endpoint("/short", workers=1, timeouts=Timeouts(total=0.3))
    def short(seconds: float) -> str:
        time.sleep(seconds)
        return "done"
"""


def serving(folder: Path, **variables: str) -> Served:
    return Served(write_app(folder, SOURCE), "--log-format", "json", environment=variables)


def ask(served: Served, name: str, **headers: str) -> Answer | None:
    """Ask, and hang up after a second: None."""
    try:
        return served.post_json("/work", {"name": name}, headers=headers, timeout=PATIENCE)
    except (TimeoutError, OSError):
        return None


def burst(served: Served, callers: list[tuple[str, dict[str, str]]], every: float = 0.0) -> list[Answer | None]:
    """All of them ask, one after the other, whatever becomes of those before."""
    with ThreadPoolExecutor(len(callers)) as pool:
        waiting = []
        start = time.monotonic()
        for i, (name, headers) in enumerate(callers):
            time.sleep(max(0.0, start + i * every - time.monotonic()))
            waiting.append(pool.submit(ask, served, name, **headers))
        return [future.result() for future in waiting]


def order(answers: list[Answer | None], start_to_end: list[str]) -> list[str]:
    """Return the names of the served requests, in the order in which they were answered."""
    done = [(answer.seconds, name) for answer, name in zip(answers, start_to_end, strict=True) if answer is not None]
    return [name for _, name in sorted(done)]


def test_in_an_overload_the_work_is_for_those_who_still_wait(tmp_path: Path) -> None:
    """Twice the capacity, callers who hang up after a second, no tuning: answers keep coming, and keep being quick.

    In order of arrival, hardly a fifth of the capacity would become answers that a caller receives.
    """
    with serving(tmp_path) as served:
        started = time.monotonic()
        for _ in range(10):
            assert ask(served, "serial") is not None
        capacity = 10 / (time.monotonic() - started)
        count = 240
        answers = burst(served, [("", {})] * count, every=0.025)
        good = [answer for answer in answers if answer is not None and answer.status == 200]
        assert len(good) >= 0.85 * capacity * count * 0.025
        times = sorted(answer.seconds for answer in good)
        assert times[len(times) // 2] < 0.4
        for answer in answers:
            if answer is not None and answer.status != 200:
                assert_problem(answer, "deadline-infeasible", 503, retry=True)
                assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_a_deadline_that_cannot_be_met_is_refused_at_once(tmp_path: Path) -> None:
    """A job known to take 0.5 s is refused at once, neither started nor queued, if its caller has only 0.3 s."""
    with serving(tmp_path) as served:
        for _ in range(3):  # each runs into the deadline, which is how the server learns
            assert served.post_json("/short", {"seconds": 0.29}).status in {200, 504}
        refused = served.post_json("/short", {"seconds": 0.0}, headers={"X-Request-Timeout": "0.05"})
        assert_problem(refused, "deadline-infeasible", 503, retry=False)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.seconds < 0.25
        assert served.status()["endpoints"]["short"]["totals"]["deadline-infeasible"] == 1


def test_the_urgent_go_first_and_batch_work_still_runs(tmp_path: Path) -> None:
    """Requests with batch priority go last; all are served in the end."""
    with serving(tmp_path) as served:
        callers = [("first", {})]
        callers += [("batch", {"X-Request-Priority": "batch"})] * 4 + [("normal", {})] * 4
        went = order(burst(served, callers, every=0.005), [name for name, _ in callers])
        assert Counter(went) == {"first": 1, "batch": 4, "normal": 4}
        assert went[-2:] == ["batch", "batch"]


def ask_from(address: str, served: Served) -> tuple[int, float]:
    """Ask from this address of the loopback; return the status and the seconds."""
    started = time.monotonic()
    connection = http.client.HTTPConnection(served.host, served.port, timeout=10.0, source_address=(address, 0))
    with contextlib.closing(connection):
        connection.request("POST", "/work", b"{}")
        return connection.getresponse().status, time.monotonic() - started


def test_a_greedy_caller_does_not_starve_another(tmp_path: Path) -> None:
    """One address has thirty requests in the queue, another sends three: they are served in turns."""
    with serving(tmp_path) as served, ThreadPoolExecutor(33) as pool:
        greedy = [pool.submit(ask_from, "127.0.0.1", served) for _ in range(30)]
        wait_until(lambda: served.status()["endpoints"]["work"]["queued"] >= 20, "a queue")
        polite = [pool.submit(ask_from, "127.0.0.2", served) for _ in range(3)]
        times = [future.result() for future in polite]
        assert all(status == 200 for status, _ in times)
        assert max(seconds for _, seconds in times) < 0.9  # all thirty take 1.5 s
        assert all(future.result()[0] in {200, 503} for future in greedy)


def test_a_priority_that_is_none_is_refused(tmp_path: Path) -> None:
    """400, with the three that there are."""
    with serving(tmp_path) as served:
        answer = served.post_json("/work", {}, headers={"X-Request-Priority": "urgent"})
        assert answer.status == 400
        assert "interactive, normal, batch" in answer.json()["detail"]


RETRY_SOURCE = """
    import time
    from penstock import App

    app = App(__name__)

    @app.endpoint("/work", workers=1)
    def work(seconds: float) -> str:
        time.sleep(seconds)
        return "done"

    @app.endpoint("/hold", workers=1, max_queue=1)
    def hold(seconds: float) -> str:
        time.sleep(seconds)
        return "done"
"""


def test_a_retry_is_advised_only_if_it_can_meet_the_callers_deadline(tmp_path: Path) -> None:
    """It cannot if the work takes longer than the deadline, or if the deadline ends before ``Retry-After``."""
    with Served(write_app(tmp_path, RETRY_SOURCE)) as served:

        def advice(path: str, code: str, **headers: str) -> str:
            answer = served.post_json(path, {"seconds": 0.2}, headers=headers)
            assert (answer.status, answer.json()["error"]["code"]) == (503, code)
            return answer.headers["x-should-retry"]

        assert served.post_json("/work", {"seconds": 0.2}).status == 200
        assert advice("/work", "deadline-infeasible", **{"X-Request-Timeout": "0.1"}) == "false"
        assert advice("/work", "deadline-infeasible", **{"x-stainless-read-timeout": "0.1"}) == "false"
        with ThreadPoolExecutor(2) as pool:
            held = [pool.submit(served.post_json, "/hold", {"seconds": 0.5}) for _ in range(2)]
            wait_until(lambda: served.get("/-/status").json()["endpoints"]["hold"]["queued"] == 1, "a full queue")
            assert advice("/hold", "queue-full") == "true"
            assert advice("/hold", "queue-full", **{"X-Request-Timeout": "0.9"}) == "false"
            assert advice("/hold", "queue-full", **{"X-Request-Timeout": "60"}) == "true"
            assert advice("/hold", "queue-full", **{"x-stainless-read-timeout": "0.9"}) == "true"
            assert [answer.result().status for answer in held] == [200, 200]
