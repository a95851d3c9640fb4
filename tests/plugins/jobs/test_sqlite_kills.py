"""Engines that share one file of SQLite and are killed, again and again, in the middle of whatever they are doing."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.job_store import JobQuery, NewJob
from penstock.testing.store_rules import done
from penstock_jobs import SqliteJobStore
from tests.job_rules import broken_rules

ENGINE = """
import os, sys, time
from penstock.job_store import ChunkReport, JobEnding, StoreOwner
from penstock_jobs import SqliteJobStore
path, owner = sys.argv[1:]
store = SqliteJobStore(path)
store.start(lambda _: None)
store.register(StoreOwner(owner, "host", os.getpid()), now=time.time()).result()
ending = JobEnding(state="succeeded", result=owner.encode())
print("ready", flush=True)
while True:
    store.sweep(now=time.time()).result()
    for claimed in store.claim(owner, "square", 4, now=time.time()).result():
        store.started(claimed.key, now=time.time())
        store.report(claimed.key, [ChunkReport(b"x")], now=time.time())
        store.finish(claimed.key, ending, now=time.time()).result()
    time.sleep(0.001)
"""


def start_engine(path: Path, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ENGINE, str(path), f"engine-{number}"], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(("jobs", "kills"), [(600, 3), pytest.param(10_000, 60, marks=pytest.mark.soak)])
def test_each_job_is_recorded_once_whoever_is_killed(tmp_path: Path, jobs: int, kills: int) -> None:
    """Two engines share the work, and one of them is killed, again and again. The rules hold after each kill."""
    dice = random.Random(jobs)
    path = tmp_path / "jobs.db"
    store = SqliteJobStore(path)
    store.start(lambda _: None)
    done(
        store.put([NewJob(id=f"job-{n:05}", endpoint="square", max_claims=1000) for n in range(jobs)], now=time.time())
    )
    engines = [start_engine(path, number) for number in range(2)]
    try:
        for number in range(kills):
            engine = engines[number % 2]
            assert engine.stdout is not None
            assert engine.stdout.readline() == "ready\n"
            time.sleep(dice.uniform(0.0, 0.2))  # to be killed at any point of its work
            engine.kill()
            engine.wait(timeout=10)
            engine.stdout.close()
            assert broken_rules(path) == {}
            engines[number % 2] = start_engine(path, number + 2)
        wait_for_the_end(store)
    finally:
        for engine in engines:
            engine.kill()
            engine.wait(timeout=10)
            assert engine.stdout is not None
            engine.stdout.close()
    assert {tally.state: tally.jobs for tally in done(store.counts()).tallies} == {"succeeded": jobs}
    assert broken_rules(path) == {}
    store.close()


def wait_for_the_end(store: SqliteJobStore) -> None:
    deadline = time.monotonic() + 100
    while done(store.list_jobs(JobQuery(states=("queued", "running"), limit=1))).jobs:
        assert time.monotonic() < deadline, done(store.counts())
        time.sleep(0.05)
