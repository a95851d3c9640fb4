"""gunicorn's other signals under load: SIGUSR2 replaces the server, SIGTTIN and SIGTTOU change its size."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.load import Account, under_load
from tests.serving import Served, wait_until

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "apps" / "loaded_app.py"
MIX = {"/quick": 0.7, "/wait": 0.2, "/stream": 0.1}
RATE = 200.0


def assert_all_served(account: Account) -> None:
    assert (account.lost, account.refused) == ([], 0), account
    assert set(account.statuses) == {200}, account


def test_a_new_master_takes_over_without_a_lost_request(tmp_path: Path) -> None:
    """It serves when it is ready; the old one ends with 0; the pid file follows."""
    path, next_path = tmp_path / "server.pid", tmp_path / "server.pid.2"
    with (
        Served(APP, "--log-format", "json", "--pid-file", str(path)) as served,
        under_load(served.port, rate=RATE, paths=MIX) as load,
    ):
        load.wait_for(20)
        served.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: len(served.events("listening")) == 2, "the new master's HTTP process", timeout=30.0)
        successor = int(next_path.read_text(encoding="utf-8"))
        assert successor in served.survivors()
        assert served.stop() == 0
        load.wait_for(50)
        wait_until(lambda: path.exists() and int(path.read_text(encoding="utf-8")) == successor, "the pid file")
        assert_all_served(load.stop())
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: served.survivors() == [], "the new master's end")
        assert not path.exists()
        assert not next_path.exists()


def test_a_new_master_that_cannot_serve_changes_nothing(tmp_path: Path) -> None:
    """It ends, the log of the old one says so, and the next one may serve."""
    app = tmp_path / "app.py"
    app.write_text(APP.read_text(encoding="utf-8"), encoding="utf-8")
    with Served(app, "--log-format", "json", "--pid-file", str(tmp_path / "server.pid")) as served:
        good = app.read_text(encoding="utf-8")
        app.write_text("import no_such_module", encoding="utf-8")
        served.process.send_signal(signal.SIGUSR2)
        line = wait_until(lambda: served.events("new-master-ended"), "its end", timeout=30.0)[0]
        assert line["code"] == 2
        assert served.post_json("/quick", {}).status == 200
        assert int((tmp_path / "server.pid").read_text(encoding="utf-8")) == served.process.pid
        app.write_text(good, encoding="utf-8")
        served.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: len(served.events("listening")) == 2, "the second one", timeout=30.0)
        assert served.stop() == 0


def test_one_http_process_more_and_one_less() -> None:
    """Two share an engine, which the first of the signals starts by a reload. No request is lost or refused."""
    with (
        Served(APP, "--log-format", "json") as served,
        under_load(served.port, rate=RATE, paths=MIX) as load,
    ):
        load.wait_for(20)
        served.process.send_signal(signal.SIGTTIN)
        wait_until(lambda: len(served.status().get("hosts", ())) == 2, "two HTTP processes", timeout=30.0)
        load.wait_for(50)
        served.process.send_signal(signal.SIGTTOU)
        wait_until(lambda: len(served.status()["hosts"]) == 1, "one HTTP process", timeout=30.0)
        served.process.send_signal(signal.SIGTTOU)
        load.wait_for(50)
        assert_all_served(load.stop())
        assert served.stop() == 0
        assert served.survivors() == []
