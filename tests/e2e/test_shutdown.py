"""The way down of a real server: by the route and by signals, one audit line each; and out of rotation and back."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import assert_problem, in_background, wait_event, wait_running
from tests.serving import Served, wait_until

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "apps" / "signals_app.py"
KEY = "q7Zr0yDkT3vW8uXeB1nHs5LmJa9GcPf2oRiY6tVwEdU"
WITH_KEY = {"Authorization": f"Bearer {KEY}"}


@contextlib.contextmanager
def serving(folder: Path, *options: str, key: str | None = KEY, **variables: str) -> Iterator[Served]:
    environment = {FOLDER_VARIABLE: str(folder), **variables}
    if key is not None:
        environment["PENSTOCK_SHUTDOWN_KEY"] = key
    with Served(APP, "--log-format", "json", *options, environment=environment) as served:
        yield served


def audit(served: Served) -> dict[str, Any]:
    """The one audit line."""
    [line] = served.events("shutdown")
    return line


def is_draining(served: Served) -> bool:
    return served.get("/readyz").status == 503


def test_the_route_drains_exactly_as_a_signal_does(tmp_path: Path) -> None:
    """Running work is finished, new work refused, and the exit code is 0; one audit line, none with the key."""
    with serving(tmp_path) as served, in_background() as start:
        running = start(served.post_json, "/hold", {"name": "running"})
        wait_until((tmp_path / "started-running").exists, "the job")
        queued = start(served.post_json, "/hold", {"name": "queued"})
        wait_until(lambda: served.status()["endpoints"]["hold"]["queued"] == 1, "the queued job")

        answer = served.post("/-/shutdown?why=a%20new%20release", headers=WITH_KEY)
        assert answer.status == 202
        told = answer.json()
        assert (told["shutting_down"], told["jobs"], told["why"]) == (True, 2, "a new release")
        assert told["endpoints"]["hold"] == {"queued": 1, "running": 1}
        assert told["workers"]["held/0"] == "busy"
        assert 29 < told["seconds_left"] <= 30
        again = served.post("/-/shutdown?drain=3600", headers=WITH_KEY)
        assert again.status == 202
        assert again.json()["seconds_left"] <= told["seconds_left"]
        assert_problem(served.post_json("/quick", {}), "draining", 503, retry=True)
        assert is_draining(served)
        assert served.process.poll() is None

        (tmp_path / "release").touch()
        assert [running.result().json(), queued.result().json()] == ["running", "queued"]
        assert served.wait() == 0
        line = audit(served)
        assert (line["who"], line["why"]) == ("POST /-/shutdown from 127.0.0.1", "a new release")
        assert (line["granted"], line["jobs"], line["finished"], line["abandoned"]) == (30, 2, 2, 0)
        assert KEY not in served.output()
        assert served.survivors() == []


def test_what_outlasts_the_drain_is_abandoned_and_named(tmp_path: Path) -> None:
    """``?drain=`` is kept; the job is answered 503 ``draining``, and the audit line says which it was."""
    with serving(tmp_path) as served, in_background() as start:
        call = start(served.post_json, "/sleep", {}, headers={"X-Request-Id": "the-sleeper"})
        wait_until((tmp_path / "started-sleep").exists, "the job")
        assert served.post("/-/shutdown?drain=0.2", headers=WITH_KEY).status == 202
        assert_problem(call.result(), "draining", 503, retry=True)
        assert served.wait() == 0
        line = audit(served)
        assert (line["granted"], line["finished"], line["abandoned"]) == (0.2, 0, 1)
        assert (line["endpoints"], line["request_ids"], line["level"]) == ({"sleep": 1}, ["the-sleeper"], "warning")
        assert 0.2 <= line["seconds"] < 10


def test_an_idle_server_answers_before_it_goes(tmp_path: Path) -> None:
    """There is nothing to wait for, and the answer arrives all the same."""
    with serving(tmp_path) as served:
        answer = served.post("/-/shutdown", headers=WITH_KEY)
        assert (answer.status, answer.json()["jobs"]) == (202, 0)
        assert served.wait() == 0
        assert audit(served)["jobs"] == 0


def test_without_the_key_nothing_happens(tmp_path: Path) -> None:
    """401 with a challenge, for all routes; the server goes on."""
    with serving(tmp_path) as served:
        for path in ("/-/shutdown", "/-/drain", "/-/undrain", "/-/reload"):
            for headers in ({}, {"Authorization": f"Bearer {KEY[::-1]}"}):
                answer = served.post(path, headers=headers)
                assert (answer.status, answer.json()["error"]["code"]) == (401, "unauthorized")
                assert answer.headers["www-authenticate"] == 'Bearer realm="penstock shutdown"'
        assert served.get("/-/shutdown").status == 405
        assert served.post("/-/shutdown?drian=1", headers=WITH_KEY).status == 400
        assert served.post_json("/quick", {}).json() == 1
        line = wait_event(served, "shutdown-refused")
        assert (line["path"], line["address"]) == ("/-/shutdown", "127.0.0.1")


def test_without_a_key_in_the_settings_there_is_no_route(tmp_path: Path) -> None:
    """404, with whatever key."""
    with serving(tmp_path, key=None) as served:
        for path in ("/-/shutdown", "/-/drain", "/-/undrain", "/-/reload"):
            assert served.post(path, headers=WITH_KEY).status == 404
        assert served.post_json("/quick", {}).json() == 1


def test_a_weak_key_stops_the_start(tmp_path: Path) -> None:
    """With the recipe for a better one, and without the key."""
    environment = {FOLDER_VARIABLE: str(tmp_path), "PENSTOCK_SHUTDOWN_KEY": "open-sesame"}
    with Served(APP, environment=environment, ready_timeout=None) as served:
        assert served.wait() != 0
        assert "secrets.token_urlsafe(32)" in served.output()
        assert "open-sesame" not in served.output()


def test_drain_and_undrain_take_it_out_of_rotation_and_back(tmp_path: Path) -> None:
    """Not ready, new work refused, what runs goes on, the workers stay the same; and then as if nothing had been."""
    with serving(tmp_path) as served, in_background() as start:
        before = served.status()["pools"]["quick"]["workers"][0]["pid"]
        running = start(served.post_json, "/hold", {"name": "running"})
        wait_running(served, "hold")
        answer = served.post("/-/drain?why=disk", headers=WITH_KEY)
        assert (answer.status, answer.json()["jobs"], answer.json()["shutting_down"]) == (200, 1, False)
        assert served.get("/readyz").status == 503
        assert served.get("/livez").status == 200
        assert_problem(served.post_json("/quick", {}), "draining", 503, retry=True)
        (tmp_path / "release").touch()
        assert running.result().json() == "running"

        assert served.post("/-/undrain", headers=WITH_KEY).status == 200
        assert served.get("/readyz").status == 200
        assert served.post_json("/quick", {}).json() == 1
        assert served.status()["pools"]["quick"]["workers"][0]["pid"] == before
        [line] = served.events("pause")
        assert (line["who"], line["why"], line["jobs"]) == ("POST /-/drain from 127.0.0.1", "disk", 1)
        assert len(served.events("resume")) == 1
        assert served.events("shutdown") == []
        assert served.stop() == 0
        assert audit(served)["who"] == "SIGTERM"


def test_what_is_out_of_rotation_can_be_shut_down(tmp_path: Path) -> None:
    """And not be put back again."""
    with serving(tmp_path) as served, in_background() as start:
        running = start(served.post_json, "/hold", {"name": "running"})
        wait_running(served, "hold")
        assert served.post("/-/drain", headers=WITH_KEY).status == 200
        assert served.post("/-/shutdown", headers=WITH_KEY).status == 202
        assert_problem(served.post("/-/undrain", headers=WITH_KEY), "draining", 503, retry=False)
        (tmp_path / "release").touch()
        assert running.result().json() == "running"
        assert served.wait() == 0
        assert audit(served)["finished"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_a_signal_gives_one_audit_line(tmp_path: Path, number: signal.Signals) -> None:
    """With its name; no key is needed for that."""
    with serving(tmp_path, key=None) as served, in_background() as start:
        running = start(served.post_json, "/hold", {"name": "running"})
        wait_running(served, "hold")
        served.process.send_signal(number)
        wait_until(lambda: is_draining(served), "the drain")
        (tmp_path / "release").touch()
        assert running.result().json() == "running"
        assert served.wait() == 0
        line = audit(served)
        assert line["who"] == number.name
        assert (line["jobs"], line["finished"], line["abandoned"]) == (1, 1, 0)


def test_ctrl_c_gives_one_audit_line(tmp_path: Path) -> None:
    """A terminal sends SIGINT to every process: it is one shutdown."""
    with serving(tmp_path, key=None) as served:
        os.killpg(served.process.pid, signal.SIGINT)
        assert served.wait() == 0
        assert audit(served)["abandoned"] == 0


def test_the_limit_holds_for_signals_too(tmp_path: Path) -> None:
    """``max_drain`` is less than ``--drain-timeout``, so it counts."""
    with serving(tmp_path, key=None, PENSTOCK_SHUTDOWN_MAX_DRAIN="0.3") as served, in_background() as start:
        call = start(served.post_json, "/sleep", {})
        wait_until((tmp_path / "started-sleep").exists, "the job")
        assert served.stop() == 0
        assert_problem(call.result(), "draining", 503, retry=True)
        assert (audit(served)["granted"], audit(served)["abandoned"]) == (0.3, 1)
