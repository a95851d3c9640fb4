"""Results and events of background jobs that are removed while they are read, from a real server."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from penstock_jobs import SqliteJobStore
from penstock_jobs.sqlite_store import WAL_LIMIT_BYTES
from penstock_jobs.store_keeper import RETAIN_PAUSE_SECONDS
from tests.e2e.job_harness import JobFile, send, submit
from tests.serving import Served, wait_until

pytestmark = pytest.mark.e2e

CHUNKS = 500
MEGABYTES = 4.1
"""Such a job writes this much: its chunks are events, and once more its result."""
MONTH = 30 * 86_400.0


class SlowReader:
    """Reads the head of an answer, and the rest when it is asked to."""

    def __init__(self, served: Served, path: str) -> None:
        self._connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
        self._connection.request("GET", path)
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        self._first = self._response.read(1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def rest(self) -> bytes:
        """Return the whole answer."""
        return self._first + self._response.read()


@pytest.mark.parametrize("rounds", [4, pytest.param(40, marks=[pytest.mark.thorough, pytest.mark.timeout(600)])])
def test_readers_have_whole_answers_while_retention_removes_rows(tmp_path: Path, rounds: int) -> None:
    """They have copies, and hold no transaction: the write-ahead log stays short, however slowly they read."""
    jobs = JobFile(tmp_path)
    with jobs.serve() as served, contextlib.ExitStack() as stack:
        names = [submit(served, "large", n=CHUNKS) for _ in range(rounds)]
        jobs.wait_final(*names, timeout=120)
        running = submit(served, "count", n=1_000_000, pause=0.01)
        wait_until(lambda: jobs.job(running)[0] == "running", "the start")
        expected = send(served, "GET", f"/v1/jobs/{names[0]}/result").body
        results = [stack.enter_context(SlowReader(served, f"/v1/jobs/{name}/result")) for name in names]
        removed = stack.enter_context(SlowReader(served, f"/v1/jobs/{names[0]}/events"))
        followed = stack.enter_context(SlowReader(served, f"/v1/jobs/{running}/events"))
        sizes = [size for _ in range(rounds) for size in replace_jobs(jobs, served)]
        assert {send(served, "GET", f"/v1/jobs/{name}").status for name in names} == {404}
        assert {slow.rest() for slow in results} == {expected}
        assert expected.count(b"\n") == CHUNKS
        assert_no_gap(removed.rest())
        assert send(served, "POST", f"/v1/jobs/{running}/cancel?wait=20").json()["state"] == "cancelled"
        events = followed.rest()
        assert_no_gap(events)
        assert events.count(b"event: end\n") == 1
    jobs.check()
    # SQLite writes what it removes. A reader with a transaction would keep all of this in the log.
    written = 3 * rounds * MEGABYTES
    print(f"of {written:.0f} MB that were written, the log had at most {max(sizes) / 1e6:.1f} MB")
    assert max(sizes) < min(WAL_LIMIT_BYTES, 0.7 * written * 1e6)


def replace_jobs(jobs: JobFile, served: Served) -> Iterator[int]:
    """Run a job, and remove what has ended, as another engine does that finds it overdue; yield sizes of the log."""
    log = jobs.path.with_name("jobs.db-wal")
    store = SqliteJobStore(jobs.path)
    store.start(lambda _: None)
    try:
        jobs.wait_final(submit(served, "large", n=CHUNKS), timeout=60)
        yield log.stat().st_size
        while store.retain(now=time.time() + MONTH).result():
            yield log.stat().st_size
            time.sleep(RETAIN_PAUSE_SECONDS)  # as an engine does
    finally:
        store.close()


def assert_no_gap(events: bytes) -> None:
    """Check that the events of an answer are the first ones of their job; it ends early if the job was removed."""
    numbers = [int(line[4:]) for line in events.splitlines() if line.startswith(b"id: ")]
    assert numbers == list(range(1, len(numbers) + 1))
