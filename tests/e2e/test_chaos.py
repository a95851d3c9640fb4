"""Random kills of a server's processes under load: only the connections of a killed HTTP process are lost."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.load import Load, under_load
from tests.serving import Served, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.soak]

APP = Path(__file__).parent / "apps" / "loaded_app.py"
MIX = {"/quick": 0.8, "/wait": 0.2}
SECONDS = 60.0
RATE = 200.0
PAUSE = (0.5, 3.0)  # seconds between two kills


def parts_of(served: Served, http_workers: int) -> dict[str, list[int]]:
    """Return the processes by their part, as the status page and the names in the process table tell."""
    parts: dict[str, list[int]] = {"worker": [], "zygote": [], "http": [], "engine": []}
    if http_workers == 1:
        parts["http"] = [int(served.events("listening")[-1]["pid"])]
    elif (answer := served.get("/-/status")).status == 200:
        parts["http"] = [int(pid) for pid in answer.json()["hosts"]]
        parts["engine"] = [int(answer.json()["engine_pid"])]
    for pid in served.survivors():
        try:
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if name == "penstock zygote":
            parts["zygote"].append(pid)
        elif "/" in name:
            parts["worker"].append(pid)
    return parts


def cut_by(kills: list[float], load: Load) -> list[object]:
    """Return the losses that no kill of an HTTP process explains: each of those is noticed at once."""
    return [loss for loss in load.account.lost if not any(0 <= loss.at - at < 1.0 for at in kills)]


def odds_of(http_workers: int) -> dict[str, int]:
    return {"worker": 6, "zygote": 2, "http": 1} | ({} if http_workers == 1 else {"engine": 2})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("http_workers", [1, 2])
def test_only_the_connections_of_a_killed_http_process_are_lost(http_workers: int) -> None:
    """For a minute: an HTTP process costs what it had at the instant of its end, and no other process costs a request.

    Requests that come while there is no engine are refused.
    """
    dice = random.Random(os.environ.get("SEED", "1"))
    kills: list[float] = []
    odds = odds_of(http_workers)
    count = dict.fromkeys(odds, 0)
    with (
        Served(APP, "--log-format", "json", "--http-workers", str(http_workers)) as served,
        under_load(served.port, rate=RATE, paths=MIX) as load,
    ):
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            time.sleep(dice.uniform(*PAUSE))
            (part,) = dice.choices(list(odds), list(odds.values()))
            pids = parts_of(served, http_workers)[part]
            if not pids:
                continue
            pid = dice.choice(pids)
            if part == "http":
                kills.append(time.monotonic())
            os.kill(pid, signal.SIGKILL)
            count[part] += 1
            if part in {"http", "engine"}:
                wait_until(lambda: served.get("/readyz").status == 200, "the next process", timeout=60.0)
        load.wait_for(20)
        account = load.stop()
        print(count, account)
        assert cut_by(kills, load) == [], account
        assert account.refused == 0, account
        assert set(account.statuses) <= {200, 503}, account
        assert all(count.values()), count
