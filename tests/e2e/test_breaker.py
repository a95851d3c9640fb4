"""The circuit breaker on a real server: it opens, refuses at once, probes with single requests, and closes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import assert_problem, in_background, wait_event
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

SOURCE = """
    from penstock import App, Timeouts
    from tests.e2e.apps.marks import folder, mark, wait_for_marks

    app = App(__name__)

    @app.endpoint("/model", timeouts=Timeouts(execution=10))
    def model(name: str = "") -> str:
        if (folder() / "broken").exists():
            raise RuntimeError("out of order")
        if name:
            mark(f"started-{name}")
            wait_for_marks("release")
        return "fine"

    @app.endpoint("/other")
    def other() -> str:
        return "fine"
"""
ENVIRONMENT = {
    "PENSTOCK_BREAKER_ENABLED": "true",
    "PENSTOCK_BREAKER_MIN_CALLS": "4",
    "PENSTOCK_BREAKER_OPEN_SECONDS": "0.3",
    "PENSTOCK_BREAKER_PROBES": "2",
}


def serving(folder: Path, **variables: str) -> Served:
    environment = {FOLDER_VARIABLE: str(folder), **ENVIRONMENT, **variables}
    return Served(write_app(folder, SOURCE), "--log-format", "json", environment=environment)


def break_and_open(served: Served, folder: Path) -> None:
    (folder / "broken").touch()
    for _ in range(4):
        assert_problem(served.post_json("/model", {}), "handler-error", 500, retry=False)
    (folder / "broken").unlink()


def test_a_circuit_opens_and_closes_again(tmp_path: Path) -> None:
    """503 circuit-open at once while it is open, other endpoints as ever; then probes, and all is well."""
    with serving(tmp_path) as served:
        break_and_open(served, tmp_path)
        refused = served.post_json("/model", {})
        assert_problem(refused, "circuit-open", 503, retry=True)
        assert int(refused.headers["retry-after"]) >= 1
        assert served.post_json("/other", {}).json() == "fine"
        opened = wait_event(served, "circuit-opened", endpoint="model")
        assert (opened["calls"], opened["failed"], opened["level"]) == (4, 4, "warning")

        time.sleep(opened["seconds"])  # it is the server's clock that has to move on
        assert [served.post_json("/model", {}).json() for _ in range(3)] == ["fine"] * 3
        assert served.events("circuit-half-open")[0]["refused"] == 1
        assert len(served.events("circuit-closed")) == 1


def test_one_probe_at_a_time_and_a_hang_up_gives_its_place_back(tmp_path: Path) -> None:
    """While a probe runs the others are refused; when its client leaves, the next request is the probe."""
    with serving(tmp_path) as served, in_background() as start:
        break_and_open(served, tmp_path)
        time.sleep(wait_event(served, "circuit-opened")["seconds"])

        body = json.dumps({"name": "probe"}).encode()
        with served.connect() as leaving:
            head = f"POST /model HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            leaving.sendall(head.encode() + b"\r\n\r\n" + body)
            wait_mark(tmp_path, "started-probe")
            assert_problem(served.post_json("/model", {}), "circuit-open", 503, retry=True)
        wait_event(served, "interrupt", endpoint="model", why="cancel")

        second = start(served.post_json, "/model", {"name": "second"})
        wait_mark(tmp_path, "started-second")
        assert_problem(served.post_json("/model", {}), "circuit-open", 503, retry=True)
        (tmp_path / "release").touch()
        assert second.result().json() == "fine"
        assert served.post_json("/model", {}).json() == "fine"
        assert len(served.events("circuit-opened")) == 1
        assert len(served.events("circuit-closed")) == 1


def wait_mark(folder: Path, name: str) -> None:
    wait_until((folder / name).exists, f"the mark {name}")


def test_what_callers_do_wrong_does_not_open_it(tmp_path: Path) -> None:
    """Invalid bodies and deadlines that cannot be met do not count as failures."""
    with serving(tmp_path) as served:
        for _ in range(8):
            assert served.post_json("/model", {"name": 3}).status == 422
            answer = served.post_json("/model", {"name": "late"}, headers={"X-Request-Timeout": "0.05"})
            assert answer.status in (503, 504)
        (tmp_path / "release").touch()
        assert served.post_json("/model", {}).json() == "fine"
        assert served.events("circuit-opened") == []


def test_it_is_off_unless_it_is_switched_on(tmp_path: Path) -> None:
    """Without the breaker, a model that always fails goes on to be answered with 500."""
    with serving(tmp_path, PENSTOCK_BREAKER_ENABLED="false") as served:
        (tmp_path / "broken").touch()
        assert {served.post_json("/model", {}).status for _ in range(20)} == {500}


def test_settings_of_an_endpoint_that_is_not_there_stop_the_start(tmp_path: Path) -> None:
    """With its name, and the one that was probably meant."""
    environment = {FOLDER_VARIABLE: str(tmp_path), **ENVIRONMENT}
    environment["PENSTOCK_BREAKER_ENDPOINTS"] = '{"modle": {"min_calls": 2}}'
    with Served(write_app(tmp_path, SOURCE), environment=environment, ready_timeout=None) as served:
        assert served.wait() != 0
        assert "'modle', which does not exist; did you mean model?" in served.output()
