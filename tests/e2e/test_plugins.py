"""A stranger's plug-ins: two distributions in a fresh environment beside the built wheel, at work, off, and broken."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.hooks.validation import HOOKS
from tests.installing import build_penstock, build_wheel, make_environment, run
from tests.serving import ROOT, Served, wait_until, write_app

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

EXAMPLE = ROOT / "examples" / "plugin"
BREAKABLE = ROOT / "tests" / "e2e" / "apps" / "breakable"
NAMED = "plug-in 'breakable' of penstock-breakable 0.9"
OFF = {"PENSTOCK_BREAKABLE_ENABLED": "false"}
APP = """
    import os
    import time

    from penstock import App

    app = App(__name__)

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/crash", workers=1)
    def crash() -> None:
        os._exit(1)

    @app.endpoint("/push", workers=1)
    def push(input: float) -> float:
        return input**2

    @app.endpoint("/pop", workers=1)
    def pop(input: float) -> float:
        return input**2

    @app.endpoint("/nap", workers=1)
    def nap(seconds: float, filling: str = "") -> float:
        time.sleep(seconds)
        return time.monotonic()
"""


class Installed:
    """The environment, and a folder with an app."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder

    def penstock(self, *arguments: str, code: int = 0, **environment: str) -> str:
        return run(self.programs / "penstock", *arguments, folder=self.folder, environment=environment, code=code)

    def plugins(self, code: int = 0, **environment: str) -> dict[str, Any]:
        told = json.loads(self.penstock("plugins", "demo:app", "--json", code=code, **environment))
        return {plugin["name"]: plugin for plugin in told["plugins"]}

    def served(self, *options: str, **environment: str) -> Served:
        served = Served("demo.py", *options, folder=self.folder, environment={"PYTHONPATH": "", **environment})
        served.command[:3] = [str(self.programs / "penstock")]
        return served


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Three wheels side by side: Penstock's, the example's, and that of one that breaks on demand."""
    sources = tmp_path_factory.mktemp("sources")
    with ThreadPoolExecutor() as pool:
        wheels = [
            pool.submit(build_penstock, sources / "penstock"),
            pool.submit(build_wheel, EXAMPLE, sources / "example"),
            pool.submit(build_wheel, BREAKABLE, sources / "breakable"),
        ]
    programs = make_environment(tmp_path_factory.mktemp("installed") / "venv", *(wheel.result() for wheel in wheels))
    folder = tmp_path_factory.mktemp("elsewhere")
    write_app(folder, APP, "demo.py")
    return Installed(programs, folder)


def hours(opens: datetime, closes: datetime) -> dict[str, str]:
    """Settings of the example, as its operator would write them."""
    return {
        "PENSTOCK_OFFICEHOURS_OPENS": f"{opens:%H:%M:%S}",
        "PENSTOCK_OFFICEHOURS_CLOSES": f"{closes:%H:%M:%S}",
        **OFF,
    }


# ---- the example


def test_the_example_s_own_tests_pass_beside_the_wheel(installed: Installed, tmp_path: Path) -> None:
    """As its author would run them: with the harness that Penstock ships."""
    shutil.copytree(EXAMPLE, tmp_path / "plugin", ignore=shutil.ignore_patterns("__pycache__"))
    said = run(
        installed.programs / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path / "plugin"
    )
    assert " passed" in said


def test_both_are_listed_with_their_distributions(installed: Installed) -> None:
    """Beside Penstock's own, which come from the wheel."""
    plugins = installed.plugins()
    example, breakable = plugins["officehours"], plugins["breakable"]
    assert (example["distribution"], example["version"], example["state"]) == ("penstock-officehours", "0.3.0", "on")
    assert example["hooks"] == ["penstock_admission_policy", "penstock_queue_discipline"]
    assert [setting["name"] for setting in example["settings"]] == [
        "enabled",
        "opens",
        "closes",
        "endpoints",
        "shortest_first",
    ]
    assert (breakable["distribution"], breakable["version"], breakable["state"]) == ("penstock-breakable", "0.9", "on")
    assert plugins["auth"]["distribution"] == "penstock"
    assert "officehours of penstock-officehours 0.3.0: on" in installed.penstock("plugins")


def test_the_example_changes_the_order(installed: Installed) -> None:
    """While the worker is busy, the shortest of those that wait goes first."""
    always = datetime.now(UTC)
    with installed.served(**hours(always, always)) as served:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(served.post_json, "/nap", {"seconds": 0.5})
            wait_until(lambda: served.status()["endpoints"]["nap"]["running"], "the first is running")
            bodies = [{"seconds": 0.01, "filling": "x" * length} for length in (9, 5, 1)]
            answers = [pool.submit(served.post_json, "/nap", body) for body in bodies]
            wait_until(lambda: served.status()["endpoints"]["nap"]["queued"] == 3, "the others wait")
            finished = [answer.result().json() for answer in answers]
        assert first.result().status == 200
        assert finished == sorted(finished, reverse=True)


def test_the_example_closes(installed: Installed) -> None:
    """Outside its hours the plug-in refuses every request, with the reason. Health checks are not affected."""
    now = datetime.now(UTC)
    with installed.served(**hours(now + timedelta(hours=2), now + timedelta(hours=3))) as served:
        answer = served.post_json("/square", {"input": 4.0})
        assert (answer.status, answer.json()["error"]["code"]) == (503, "closed")
        assert answer.headers["x-should-retry"] == "true"
        assert int(answer.headers["retry-after"]) >= 1
        assert served.get("/livez").status == 200


def test_the_example_can_be_switched_off(installed: Installed) -> None:
    """By a variable; then it is not even imported, and has no say."""
    now = datetime.now(UTC)
    environment = {
        **hours(now + timedelta(hours=2), now + timedelta(hours=3)),
        "PENSTOCK_OFFICEHOURS_ENABLED": "false",
    }
    described = installed.plugins(**environment)["officehours"]
    assert (described["state"], described["why"], described["settings"]) == ("off", "switched off by a setting", None)
    with installed.served(**environment) as served:
        assert served.post_json("/square", {"input": 4.0}).json() == 16.0


# ---- broken at the start


SHAPES = {
    "import": "cannot be imported: ImportError: a library is missing",
    "misspelt": "implements penstock_rotes, which is not a hook; did you mean penstock_routes?",
    "argument": "takes 'weather', but the hook is passed only 'app'",
    "unmarked": "penstock_routes is not marked with @hookimpl",
    "wrapper": "is a hook wrapper",
    "made": "cannot be created: RuntimeError: broken: made",
    "check": "does not fit the app: RuntimeError: broken: check",
}
FACTORIES = {
    f"factory:{hook}": f"RuntimeError: broken: factory:{hook}" for hook in HOOKS if hook != "penstock_cli_commands"
}
BREAKS = {**SHAPES, **FACTORIES}


@pytest.mark.parametrize("kind", BREAKS)
def test_each_break_is_named_and_does_not_stop_the_listing(installed: Installed, kind: str) -> None:
    """With the plug-in, its distribution and version, the cause and the way out; the others are listed as ever."""
    told = installed.plugins(code=1, TEST_BREAK=kind)
    why = told["breakable"]["why"]
    assert told["breakable"]["state"] == "broken"
    assert NAMED in why
    assert BREAKS[kind] in why
    assert "switch it off with PENSTOCK_BREAKABLE_ENABLED=false, or uninstall penstock-breakable" in why
    assert told["officehours"]["state"] == "on"


@pytest.mark.parametrize("kind", ["import", "argument", "factory:penstock_authenticator", "factory:penstock_observer"])
def test_a_server_does_not_start_with_a_broken_plug_in(installed: Installed, kind: str) -> None:
    """It says why, in one line, with the traceback of what was raised, and ends with an exit code."""
    served = installed.served(TEST_BREAK=kind)
    served.ready_timeout = None
    with served:
        assert served.wait() != 0
        said = served.output()
        assert NAMED in said
        assert BREAKS[kind] in said
        assert "PENSTOCK_BREAKABLE_ENABLED=false" in said
        assert served.survivors() == []


def test_a_broken_plug_in_that_is_off_is_no_hindrance(installed: Installed) -> None:
    """Disabling a broken plug-in lets an operator serve again before it is fixed."""
    always = datetime.now(UTC)
    with installed.served(TEST_BREAK="import", **hours(always, always)) as served:
        assert served.post_json("/square", {"input": 4.0}).json() == 16.0


def test_broken_commands_break_no_others(installed: Installed) -> None:
    """The command line says so once, and works."""
    said = installed.penstock("--help", TEST_BREAK="factory:penstock_cli_commands")
    assert f"penstock: no commands from {NAMED}: penstock_cli_commands of {NAMED} raised: RuntimeError" in said
    assert "keys" in said


# ---- broken while serving


@pytest.fixture(scope="module")
def broken(installed: Installed) -> Iterator[Served]:
    """A server whose plug-in raises in each kind of callable, when it is asked to."""
    always = datetime.now(UTC)
    environment = {**hours(always, always), "PENSTOCK_BREAKABLE_ENABLED": "true", "TEST_BREAK": "callables"}
    served = installed.served("--log-format", "json", PENSTOCK_OFFICEHOURS_SHORTEST_FIRST="false", **environment)
    with served:
        yield served


def logged(served: Served, hook: str) -> dict[str, Any]:
    """The one line about what a hook has raised."""

    def lines() -> list[dict[str, Any]]:
        events = [json.loads(line) for line in served.output().splitlines() if line.startswith("{")]
        return [event for event in events if event.get("event") == "hook-error" and event.get("hook") == hook]

    [line] = wait_until(lines, f"{hook} is in the log")
    return line


def assert_it_serves(served: Served) -> None:
    assert served.post_json("/square", {"input": 4.0}).json() == 16.0


@pytest.mark.parametrize("kind", ["authenticator", "timeout_policy", "admission_policy"])
def test_a_decision_that_raises_fails_that_request_only(broken: Served, kind: str) -> None:
    """With hook-error, 500, and no word of what was raised; the log has all of it."""
    answer = broken.post_json("/square", {"input": 4.0}, headers={"X-Break": kind})
    assert (answer.status, answer.json()["error"]["code"]) == (500, "hook-error")
    assert "broken" not in answer.json()["detail"]
    line = logged(broken, f"penstock_{kind}")
    assert (line["plugin"], line["distribution"], line["version"]) == ("breakable", "penstock-breakable", "0.9")
    assert "SystemExit: broken: callables" in line["message"]
    assert "Traceback" in line["traceback"]
    assert_it_serves(broken)


def test_a_refusal_is_no_failure(broken: Served) -> None:
    """The caller is answered with what the plug-in raised on purpose."""
    answer = broken.post_json("/square", {"input": 4.0}, headers={"X-Break": "refusal"})
    assert (answer.status, answer.json()["error"]["code"]) == (429, "rate-limited")
    assert int(answer.headers["retry-after"]) >= 7


def test_a_release_that_raises_fails_nobody(broken: Served) -> None:
    """The answer is there, and goes to the one who asked."""
    answer = broken.post_json("/square", {"input": 4.0}, headers={"X-Break": "release"})
    assert answer.json() == 16.0
    assert_it_serves(broken)


def test_a_retry_policy_that_raises_fails_that_job_only(broken: Served) -> None:
    """Instead of what the job would have been answered with."""
    answer = broken.post_json("/crash", {})
    assert (answer.status, answer.json()["error"]["code"]) == (500, "hook-error")
    assert logged(broken, "penstock_retry_policy")["distribution"] == "penstock-breakable"
    assert_it_serves(broken)


@pytest.mark.parametrize("method", ["push", "pop"])
def test_a_queue_that_raises_harms_nobody_else(broken: Served, method: str) -> None:
    """Each job of its endpoint pays for itself; the others are served."""
    for _ in range(2):
        answer = broken.post_json(f"/{method}", {"input": 4.0})
        assert (answer.status, answer.json()["error"]["code"]) == (500, "hook-error")
    assert logged(broken, "penstock_queue_discipline")["distribution"] == "penstock-breakable"
    assert_it_serves(broken)


def test_an_observer_that_raises_harms_nobody(broken: Served) -> None:
    """It is logged, not each time, and counted; serving goes on."""
    for _ in range(3):
        assert_it_serves(broken)
    assert logged(broken, "penstock_observer")["distribution"] == "penstock-breakable"
    status = broken.status()["plugins"]["breakable"]
    assert (status["distribution"], status["version"]) == ("penstock-breakable", "0.9")
    assert status["failures"]["penstock_observer"] >= 3


def test_a_route_that_raises_fails_that_request_only(broken: Served) -> None:
    """With hook-error, as a decision."""
    answer = broken.get("/broken")
    assert (answer.status, answer.json()["error"]["code"]) == (500, "hook-error")
    assert logged(broken, "penstock_routes")["distribution"] == "penstock-breakable"
    assert broken.get("/livez").status == 200


def test_a_shutdown_policy_that_raises_does_not_keep_the_server(installed: Installed) -> None:
    """The server stops as if there were no shutdown policy: running jobs are finished, and nothing is left."""
    always = datetime.now(UTC)
    environment = {**hours(always, always), "PENSTOCK_BREAKABLE_ENABLED": "true", "TEST_BREAK": "callables"}
    with installed.served(**environment) as served, ThreadPoolExecutor() as pool:
        nap = pool.submit(served.post_json, "/nap", {"seconds": 0.5})
        wait_until(lambda: served.status()["endpoints"]["nap"]["running"], "it is running")
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 20
        assert nap.result().status == 200
        assert "penstock_shutdown_policy" in served.output()
        assert served.survivors() == []
