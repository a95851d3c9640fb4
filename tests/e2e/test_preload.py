"""Models that are shared by fork, from ``penstock serve`` to the log."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import os
    import threading
    from penstock import App

    app = App(__name__)

    @app.endpoint("/model", workers=2, preload=True)
    class Model:
        def setup(self) -> None:
            {setup}
            self.set_up_in = os.getpid()

        def predict(self) -> int:
            return self.set_up_in
"""


def test_a_killed_worker_is_back_with_its_model(tmp_path: Path) -> None:
    """``setup`` has run once for all workers, and does not run for the replacement either. Nothing outlives the end."""
    app = write_app(tmp_path, APP.format(setup="print('setting up')"))
    with Served(app, folder=tmp_path) as served:
        answer = served.post_json("/model", {}).json()
        for place in (0, 1):
            worker = served.status()["pools"]["model"]["workers"][place]
            os.kill(worker["pid"], signal.SIGKILL)
            assert wait_until(
                lambda place=place: served.status()["pools"]["model"]["workers"][place]["restarts"] == 1, ""
            )
        assert [served.post_json("/model", {}).json() for _ in range(8)] == [answer] * 8
        assert served.output().count("setting up") == 1


def test_a_pool_that_cannot_be_preloaded_fails(tmp_path: Path) -> None:
    """It is given up after three starts, as any pool whose ``setup`` fails, and the log has the reason and the fix."""
    app = write_app(tmp_path, APP.format(setup="threading.Thread(target=threading.Event().wait, daemon=True).start()"))
    with Served(app, "--log-format", "json", folder=tmp_path, ready_timeout=None) as served:
        assert wait_until(lambda: served.events("pool-failed"), "the pool to fail")
        tracebacks = [event["traceback"] for event in served.events() if "traceback" in event]
    assert len(tracebacks) == 1
    assert "pool 'model' preloads, but its setup() has left thread 'Thread-1 (wait)'" in tracebacks[0]


def test_fresh_workers_cannot_be_preloaded(tmp_path: Path) -> None:
    """``--start-method fresh`` contradicts the app: exit code 2, and one line with the fix."""
    app = write_app(tmp_path, APP.format(setup="pass"))
    with Served(app, "--start-method", "fresh", folder=tmp_path, ready_timeout=None) as served:
        assert served.wait() == 2
        assert "use start_method='auto', or remove preload=True" in served.output()
        assert "Traceback" not in served.output()
