"""SIGHUP to a real server: new code takes over when it is ready, and broken code changes nothing."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.e2e.watching import in_background
from tests.load import under_load
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

MIX = {"/quick": 0.7, "/stream": 0.3}
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

    def __init__(self, folder: Path) -> None:
        self.path = write_app(folder, SOURCE)
        self.served = Served(self.path, "--log-format", "json", environment={FOLDER_VARIABLE: str(folder)})

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
        assert (account.lost, account.refused, account.unaccepted) == ([], 0, 0), account
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
