"""The speed of the store of background jobs in a file of SQLite: jobs per second, latencies, and claims at depth.

    python bench/job_store.py --folder /path/on/the/disk --jobs 2000 --queued 200000

A job is accepted, claimed and finished: three calls, each of which returns when it is on the disk. The disk decides, so
the time of an fsync in the same folder comes first. With several callers, commits are shared.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from penstock.job_store import JobEnding, NewJob, StoreOwner
from penstock_jobs import SqliteJobStore

ENDING = JobEnding(state="succeeded", result=b"16.0", media_type="application/json")
CALLERS = (1, 64)
GROUP = 1000


def fsync_seconds(folder: Path) -> float:
    """Return the median time of an fsync of 4 KiB in this folder."""
    path = folder / "fsync"
    with path.open("wb", buffering=0) as file:
        times = []
        for _ in range(50):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(times)


def open_store(path: Path) -> SqliteJobStore:
    """Open a store, with an owner."""
    store = SqliteJobStore(path)
    store.start(lambda _: None)
    store.register(StoreOwner("bench"), now=time.time()).result()
    return store


def percentile(times: list[float], share: float) -> float:
    """Return a percentile, in milliseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


def throughput(store: SqliteJobStore, callers: int, jobs: int) -> list[str]:
    """Accept, claim and finish jobs from a number of threads; return the cells of a row."""
    numbers = itertools.count()
    accepted: list[float] = []
    recorded: list[float] = []

    def work() -> None:
        for _ in range(jobs // callers):
            began = time.perf_counter()
            new = NewJob(id=f"{callers}-{next(numbers)}", endpoint="square", request=b'{"input": 4.0}')
            store.put([new], now=time.time()).result()
            accepted.append(time.perf_counter() - began)
            for claimed in store.claim("bench", "square", 1, now=time.time()).result():
                store.finish(claimed.key, ENDING, now=time.time()).result()
            recorded.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(recorded) / (time.perf_counter() - began)
    p50, p99, done = percentile(accepted, 0.5), percentile(accepted, 0.99), percentile(recorded, 0.5)
    return [f"{callers} callers", f"{rate:.0f} jobs/s", f"{p50:.2f} ms", f"{p99:.2f} ms", f"{done:.2f} ms"]


def fill(store: SqliteJobStore, queued: int) -> None:
    """Put and finish ``queued`` jobs, and put as many again."""
    for final in (True, False):
        for start in range(0, queued, GROUP):
            now = time.time()
            names = (f"{final}-{number}" for number in range(start, start + GROUP))
            jobs = [
                NewJob(id=name, endpoint="deep", principal=f"p{i % 7}", max_queued=queued)
                for i, name in enumerate(names)
            ]
            store.put(jobs, now=now).result()
            if final:
                claimed = store.claim("bench", "deep", GROUP, now=now).result()
                for future in [store.finish(item.key, ENDING, now=now) for item in claimed]:
                    future.result()


def seconds_of(calls: int, call: Callable[[], object]) -> list[float]:
    """Return how long each of a number of calls takes, in seconds."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def depth(store: SqliteJobStore, path: Path, queued: int) -> list[list[str]]:
    """Return the rows about a store with many jobs."""
    claims = seconds_of(100, lambda: store.claim("bench", "deep", 1, now=time.time()).result())
    puts = seconds_of(100, lambda: store.put([NewJob(id=os.urandom(8).hex(), endpoint="x")], now=time.time()).result())
    counts = seconds_of(20, lambda: store.counts().result())
    in_transaction = store.write(
        lambda tx: statistics.median(seconds_of(100, lambda: tx.ready("deep", 1, time.time())))
    ).result()
    store.close()
    began = time.perf_counter()
    open_store(path).close()
    start = time.perf_counter() - began
    label = f"{queued} queued + {queued} finished"
    return [
        [label, "the query of a claim", f"{in_transaction * 1000:.2f} ms"],
        [label, "claim, committed", f"{percentile(claims, 0.5):.2f} ms"],
        [label, "put, committed", f"{percentile(puts, 0.5):.2f} ms"],
        [label, "counts", f"{percentile(counts, 0.5):.2f} ms"],
        [label, "start", f"{start * 1000:.0f} ms"],
    ]


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure"
    )
    parser.add_argument("--jobs", type=int, default=2000, help="jobs per row")
    parser.add_argument("--queued", type=int, default=200_000, help="the depth of the queue; 0 skips it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        print(f"fsync: {fsync_seconds(folder) * 1000:.2f} ms; SQLite {sqlite3.sqlite_version}\n")
        store = open_store(folder / "jobs.db")
        rows = [throughput(store, callers, options.jobs) for callers in CALLERS]
        store.close()
        print(table(["SQLite", "accept + claim + finish", "accepted p50", "accepted p99", "recorded p50"], rows), "\n")
        for queued in (GROUP, options.queued) if options.queued else ():
            path = folder / f"deep-{queued}.db"
            store = open_store(path)
            fill(store, queued)
            print(table(["depth", "call", "p50"], depth(store, path, queued)), "\n")


if __name__ == "__main__":
    main()
