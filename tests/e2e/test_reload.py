"""SIGHUP to a real server: new code takes over when it is ready, and broken code changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import in_background
from tests.load import under_load
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

MIX = {"/quick": 0.7, "/stream": 0.3}
KEY = "q7Zr0yDkT3vW8uXeB1nHs5LmJa9GcPf2oRiY6tVwEdU"
WITH_KEY = {"Authorization": f"Bearer {KEY}"}
PATIENCE = 1.0  # a request of the load takes milliseconds, and the machine is shared

SOURCE = """
    from collections.abc import AsyncIterator
    import trio
    from penstock import App
    from tests.e2e.apps.marks import mark, wait_for_marks

    app = App(__name__)
    VERSION = 1

    @app.endpoint("/quick", pool="quick")
    class Quick:
        def setup(self) -> None:
            pass  # setup

        def predict(self) -> int:
            return VERSION

    @app.endpoint("/hold", pool="held")
    def hold() -> int:
        mark("started")
        wait_for_marks("release")
        return VERSION

    @app.endpoint("/stream", pool="streams", concurrency=50)
    async def stream() -> AsyncIterator[int]:
        for value in range(5):
            yield value
            await trio.sleep(0.02)
"""
BREAKAGES = {
    "syntax": ("VERSION = 1", "VERSION = = 2", "SyntaxError"),
    "import": ("VERSION = 1", "import no_such_module", "No module named 'no_such_module'"),
    "setup": ("pass  # setup", "raise RuntimeError('no weights')", "no weights"),
}


class Edited:
    """A server with an app that a test edits."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.path = write_app(folder, SOURCE)
        self.pid_file = folder / "server.pid"
        options = ("--log-format", "json", "--pid-file", str(self.pid_file), *more)
        environment = {FOLDER_VARIABLE: str(folder), "PENSTOCK_SHUTDOWN_KEY": KEY}
        self.served = Served(self.path, *options, environment=environment)

    def command(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run ``penstock reload``."""
        command = [sys.executable, "-m", "penstock_cli", "reload", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def edit(self, old: str, new: str) -> None:
        text = self.path.read_text(encoding="utf-8")
        assert old in text
        self.path.write_text(text.replace(old, new), encoding="utf-8")

    def version(self) -> int:
        answer = self.served.post_json("/quick", {})
        assert answer.status == 200
        return answer.json()

    def reload(self, outcome: str, number: int = 1) -> None:
        """Send SIGHUP, and wait for this number of events of this name."""
        self.served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(self.served.events(outcome)) == number, outcome, timeout=20.0)


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    return Edited(tmp_path)


@pytest.mark.timed
def test_a_reload_under_load_loses_no_request_and_none_waits(edited: Edited) -> None:
    """Every answer is a 200, of the old code or the new; nothing is refused; the old generation then ends."""
    with edited.served as served, under_load(served.port, rate=300, paths=MIX) as load:
        load.wait_for(50)
        before = served.survivors()
        edited.edit("VERSION = 1", "VERSION = 2")
        edited.reload("reloaded")
        load.wait_for(100)
        assert edited.version() == 2
        wait_until(lambda: len(served.survivors()) == len(before), "the old generation's end")
        account = load.stop()
        assert (account.lost, account.refused) == ([], 0), account
        assert set(account.statuses) == {200}, account
        assert account.slowest < PATIENCE, account
        assert served.status()["generation"] == 2


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_broken_code_changes_nothing_and_mended_code_is_taken(edited: Edited, breakage: str) -> None:
    """The old workers go on, the log has the reason, nothing of the attempt is left, and the next reload is as ever."""
    old, new, reason = BREAKAGES[breakage]
    with edited.served as served:
        before = served.survivors()
        edited.edit(old, new)
        edited.reload("reload-failed")
        [failure] = served.events("reload-failed")
        assert reason in failure["message"]
        assert served.process.poll() is None
        assert edited.version() == 1
        wait_until(lambda: served.survivors() == before, "the end of the failed generation")
        edited.edit(new, old)
        edited.edit("VERSION = 1", "VERSION = 3")
        edited.reload("reloaded")
        assert edited.version() == 3
        assert served.stop() == 0


def test_several_http_processes_are_reloaded_with_their_engine(tmp_path: Path) -> None:
    """A new engine and new HTTP processes take over together; a setup that fails, or an import, changes nothing."""
    edited = Edited(tmp_path, "--http-workers", "2")
    with edited.served as served, under_load(served.port, rate=100, paths=MIX) as load:
        load.wait_for(10)
        before = served.survivors()
        for breakage in ("setup", "import"):
            old, new, reason = BREAKAGES[breakage]
            edited.edit(old, new)
            edited.reload("reload-failed", 1 if breakage == "setup" else 2)
            assert reason in served.events("reload-failed")[-1]["message"]
            edited.edit(new, old)
            wait_until(lambda: served.survivors() == before, "the end of the failed generation")
        edited.edit("VERSION = 1", "VERSION = 2")
        edited.reload("reloaded")
        load.wait_for(20)
        assert edited.version() == 2
        wait_until(lambda: len(served.survivors()) == len(before), "the old generation's end")
        assert not set(served.survivors()) & set(before) - {served.process.pid}
        account = load.stop()
        assert (account.lost, account.refused, set(account.statuses)) == ([], 0, {200}), account
        assert served.stop() == 0


def test_signals_during_a_reload_are_one_more(edited: Edited) -> None:
    """The code that was saved last is the one that serves; work of the first generation goes on through both."""
    with edited.served as served, in_background() as start:
        running = start(served.post_json, "/hold", {})
        wait_until((edited.path.parent / "started").exists, "the job")
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: served.events("reload"), "the first reload")
        edited.edit("VERSION = 1", "VERSION = 2")
        for _ in range(3):
            served.process.send_signal(signal.SIGHUP)
            time.sleep(0.01)  # so that they are separate signals
        wait_until(lambda: len(served.events("reloaded")) == 2, "the second reload", timeout=20.0)
        assert edited.version() == 2
        (edited.path.parent / "release").touch()
        assert running.result().json() == 1
        assert len(served.events("reload")) == 2


def test_a_stop_during_a_reload_ends_both_generations(edited: Edited) -> None:
    """The new one, which has nothing to finish, at once; exit code 0, and nothing is left."""
    with edited.served as served:
        edited.edit("VERSION = 1", "import time; time.sleep(60)")
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: served.events("reload"), "the reload")
        assert served.stop() == 0
        assert served.survivors() == []
        assert not served.events("reload-failed")


def test_the_command_waits_for_the_outcome(edited: Edited) -> None:
    """Exit code 0 once the new code serves, and 1 with the reason if it cannot; the file is removed at the end."""
    with edited.served as served:
        assert int(edited.pid_file.read_text(encoding="utf-8")) == served.process.pid
        edited.edit("VERSION = 1", "VERSION = 2")
        done = edited.command("--pid-file", str(edited.pid_file))
        assert (done.returncode, done.stdout) == (0, "penstock: generation 2 serves\n")
        assert edited.version() == 2
        edited.edit("VERSION = 2", "VERSION = = 2")
        done = edited.command("--pid", str(served.process.pid))
        assert done.returncode == 1
        assert "the old code goes on serving: SyntaxError: invalid syntax" in done.stderr
        assert edited.version() == 2
        done = edited.command("--pid", str(served.status()["pools"]["quick"]["workers"][0]["pid"]))
        assert done.returncode == 2
        assert served.stop() == 0
        assert not edited.pid_file.exists()


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    """No server, no pid file, something else in it, or a process that is not a server: exit code 2."""
    edited = Edited(tmp_path)
    stale = tmp_path / "stale.pid"
    stale.write_text("4194304\n", encoding="utf-8")  # the kernel's limit, which no process reaches
    wrong = [
        ((), "Name the server by one of --pid-file and --pid"),
        (("--pid-file", str(tmp_path / "none")), "there is no pid file"),
        (("--pid-file", str(edited.path)), "is not a pid file"),
        (("--pid-file", str(stale)), "There is no process 4194304"),
        (("--pid", str(os.getpid())), "is not a server"),
    ]
    for options, message in wrong:
        done = edited.command(*options)
        assert done.returncode == 2
        assert message in " ".join(done.stderr.replace("│", " ").split())


def test_the_route_reloads_too(edited: Edited) -> None:
    """With the key of the shutdown routes alone; the status says how it went."""
    with edited.served as served:
        assert served.post("/-/reload").status == 401
        edited.edit("VERSION = 1", "VERSION = 2")
        answer = served.post("/-/reload?why=release%2042", headers=WITH_KEY)
        assert (answer.status, answer.json()) == (202, {"reloading": True, "generation": 1})
        wait_until(lambda: served.status()["generation"] == 2, "the new code", timeout=20.0)
        assert edited.version() == 2
        [line] = served.events("reload-requested")
        assert (line["who"], line["why"]) == ("POST /-/reload from 127.0.0.1", "release 42")
        edited.edit("VERSION = 2", "import no_such_module")
        assert served.post("/-/reload", headers=WITH_KEY).status == 202
        reloads = wait_until(lambda: served.status()["reloads"]["failures"] and served.status()["reloads"], "the end")
        assert (reloads["begun"], reloads["ended"]) == (2, 2)
        assert "no_such_module" in reloads["failures"]["2"]
