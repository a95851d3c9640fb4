"""The engines of a store keep within a limit together, and a server may run background jobs only."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from penstock.job_store import FINAL, NewJob
from penstock_jobs import SqliteJobStore
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import os
    import time

    import trio

    from penstock import App, Jobs

    app = App(__name__)


    @app.endpoint("/licensed", concurrency=4, jobs=Jobs(global_concurrency=2))
    async def licensed() -> None:
        with open(os.environ["LEDGER"], "a") as file:
            print(time.monotonic(), 1, file=file, flush=True)
            await trio.sleep(0.1)
            print(time.monotonic(), -1, file=file, flush=True)


    @app.endpoint("/one-slot", workers=1, jobs=Jobs())
    def one_slot() -> str:
        return "done"
"""
JOBS = 20


def test_a_server_for_jobs_only_refuses_direct_calls(tmp_path: Path) -> None:
    """It takes background jobs, and they may use all slots."""
    environment = {"LEDGER": os.devnull, "PENSTOCK_JOBS_STORE": "memory:", "PENSTOCK_JOBS_ONLY": "true"}
    with Served(write_app(tmp_path, APP), environment=environment) as served:
        refused = served.post_json("/one-slot", {})
        assert (refused.status, refused.json()["error"]["code"]) == (503, "unavailable")
        assert refused.headers["x-should-retry"] == "true"
        answer = served.post_json("/one-slot", {}, headers={"Prefer": "respond-async, wait=20"})
        assert (answer.status, answer.json()) == (200, "done")


def test_two_engines_keep_within_a_limit_together(tmp_path: Path) -> None:
    """And the end of a job in one of them makes room in the other at once: neither waits until it polls the queue."""
    path, ledger = tmp_path / "jobs.db", tmp_path / "ledger"
    app = write_app(tmp_path, APP)
    environment = {"LEDGER": str(ledger), "PENSTOCK_JOBS_STORE": f"sqlite:///{path}"}
    with Served(app, environment=environment) as one, Served(app, environment=environment) as other:
        for served in (one, other):
            assert served.get("/readyz").status == 200
        store = SqliteJobStore(path)
        store.start(lambda _: None)
        try:
            names = [f"job-{n}" for n in range(JOBS)]
            request = json.dumps({}).encode()
            jobs = [NewJob(id=name, is_named=True, endpoint="licensed", request=request) for name in names]
            store.put(jobs, now=time.time()).result()
            wait_until(lambda: all(store.get(name).result().state in FINAL for name in names), "their ends", timeout=20)
            assert {store.get(name).result().state for name in names} == {"succeeded"}
        finally:
            store.close()
    steps = sorted((float(at), int(mark)) for at, mark in map(str.split, ledger.read_text().splitlines()))
    running, most = 0, 0
    for _, mark in steps:
        running += mark
        most = max(most, running)
    assert (most, running) == (2, 0)
    # An engine that is not woken polls the queue every five seconds.
    assert steps[-1][0] - steps[0][0] < 5.0
