"""Background jobs in real servers to which the worst happens. After each test the rules are checked in the file."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pytest

from penstock.job_store import NewJob
from penstock_jobs import SqliteJobStore
from tests.e2e.job_harness import JobFile, put, send, submit
from tests.serving import Answer, Served, wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[JobFile]:
    found = JobFile(tmp_path)
    yield found
    found.check()


# ---- killed


def test_a_job_whose_engine_dies_before_its_answer_is_there(jobs: JobFile) -> None:
    """It was committed: the same PUT finds it, and it runs at most twice and is recorded once."""
    with jobs.serve(DIE_AFTER_COMMIT="yes") as served:
        with pytest.raises((OSError, http.client.HTTPException)):
            put(served, "order-1", "square", input=3.0)
        assert served.wait() == -signal.SIGKILL
    assert jobs.job("order-1")[0] in ("queued", "running", "succeeded")
    with jobs.serve() as served:
        assert put(served, "order-1", "square", input=3.0).status == 200
        jobs.wait_final("order-1")
        assert send(served, "GET", "/v1/jobs/order-1/result").json() == 9.0
    assert jobs.states() == {"succeeded": 1}
    assert len(jobs.notes("run", "order-1")) in (1, 2)


def test_a_job_that_kills_engines_is_given_up(jobs: JobFile) -> None:
    """After the second one; the jobs beside it all succeed."""
    with jobs.serve() as served:
        for _ in range(30):
            submit(served, "square", input=2.0)
        try:
            put(served, "poison", "poison", of="engine")
        except (OSError, http.client.HTTPException):
            assert jobs.job("poison")  # its engine was quicker than the answer
        assert served.wait() == -signal.SIGKILL
    again = jobs.serve()
    again.ready_timeout = None
    with again:
        assert again.wait() == -signal.SIGKILL
    with jobs.serve():
        jobs.wait_all_final()
    assert jobs.job("poison") == ("failed", "worker-lost", 2)
    assert jobs.notes("run", "poison") == [["1"], ["2"]]
    assert jobs.states() == {"succeeded": 30, "failed": 1}


def test_a_job_that_kills_workers_harms_none_beside_it(jobs: JobFile) -> None:
    """It fails within its claim; the job in the other worker runs once, and direct calls are answered."""
    with jobs.serve() as served:
        beside = submit(served, "poison", of="nobody")
        wait_until(lambda: jobs.notes("run", beside), "the start")
        poison = submit(served, "poison", of="worker")
        assert send(served, "POST", "/square", {"input": 4.0}).json() == 16.0
        jobs.wait_final(beside, poison)
    assert jobs.job(poison)[:2] == ("failed", "worker-lost")
    assert (jobs.job(beside), jobs.notes("run", beside)) == (("succeeded", None, 1), [["1"]])


@pytest.mark.parametrize("number", [500, pytest.param(10_000, marks=[pytest.mark.thorough, pytest.mark.timeout(600)])])
def test_two_servers_that_are_killed_in_turn_record_each_job_once(jobs: JobFile, number: int) -> None:
    """One of them is killed as soon as both are there, until all jobs have ended: what it held runs again."""
    line = b'{"endpoint": "square", "input": {"input": 2.0, "pause": 0.01}}\n'
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(jobs.serve()) for _ in range(2)]
        for first in range(0, number, 1000):
            lines = line * min(1000, number - first)
            assert servers[0].post("/v1/jobs", lines, media_type="application/x-ndjson").status == 202
        for kills in itertools.count(1):
            wait_until(lambda seen=20 * kills: len(jobs.notes("run")) > seen, "some runs")
            kill(servers.pop(0))
            if jobs.states().get("succeeded") == number:
                break
            servers.append(stack.enter_context(jobs.serve()))
    runs = [name for name, _ in jobs.notes("run")]
    print(f"{kills} kills; {len(runs)} runs of {number} jobs")
    assert kills >= 2
    assert (len(set(runs)), jobs.states()) == (number, {"succeeded": number})


def kill(served: Served) -> None:
    """Kill all processes of a server at once."""
    os.killpg(served.process.pid, signal.SIGKILL)
    served.wait()


# ---- cancels


@pytest.mark.parametrize("number", [120, pytest.param(1000, marks=pytest.mark.thorough)])
def test_a_cancel_may_race_with_the_end(jobs: JobFile, number: int) -> None:
    """One of them wins, every caller hears the same state, and nothing changes it."""
    dice = random.Random(number)
    # Some jobs are so long that the cancel comes first on the slowest machine.
    races = [(dice.uniform(0.0, 0.06), dice.choice((0.01, 0.01, 0.01, 1.0))) for _ in range(number)]

    def race(served: Served, pause: float, seconds: float) -> tuple[str, str]:
        name = submit(served, "sleep", seconds=seconds)
        time.sleep(pause)  # so that the cancel arrives at any point of the job's life
        answer = send(served, "POST", f"/v1/jobs/{name}/cancel?wait=20")
        assert answer.status in (200, 202), answer.body  # 200 if the job had ended before
        return name, answer.json()["state"]

    with jobs.serve() as served, ThreadPoolExecutor(8) as executor:
        heard = dict(executor.map(lambda each: race(served, *each), races))
        later = {name: send(served, "GET", f"/v1/jobs/{name}").json()["state"] for name in heard}
    assert set(heard.values()) == {"succeeded", "cancelled"}
    assert later == heard == dict(jobs.rows("SELECT id, state FROM penstock_jobs"))


# ---- many at once


def test_of_many_puts_at_once_there_is_one_job(jobs: JobFile) -> None:
    """From 50 connections that send at the same moment; it runs once, and another body is refused."""
    gate = threading.Barrier(50)

    def put_once(served: Served) -> int:
        gate.wait(timeout=30)
        return put(served, "order-1", "square", input=3.0).status

    with jobs.serve() as served:
        with ThreadPoolExecutor(50) as executor:
            statuses = list(executor.map(put_once, [served] * 50))
        assert sorted(statuses) == [200] * 49 + [201]
        assert put(served, "order-1", "square", input=4.0).status == 422
        jobs.wait_final("order-1")
    assert jobs.states() == {"succeeded": 1}
    assert jobs.notes("run", "order-1") == [["1"]]


def test_of_many_jobs_never_more_run_than_declared(jobs: JobFile) -> None:
    """There are two of 200 jobs at any moment, although there are three workers, and not one after the other."""
    lines = [json.dumps({"endpoint": "two", "input": {"seconds": 0.01}}) for _ in range(200)]
    with jobs.serve() as served:
        answer = served.post("/v1/jobs", "\n".join(lines).encode(), media_type="application/x-ndjson")
        assert answer.status == 202, answer.body
        jobs.wait_all_final()
    steps = [1 if line.startswith("enter") else -1 for line in jobs.ledger.read_text().splitlines()]
    assert max(itertools.accumulate(steps)) == 2
    assert (jobs.states(), sum(steps), len(steps)) == ({"succeeded": 200}, 0, 400)


# ---- stopped, locked out, and out of room


def test_a_stopped_engine_loses_its_jobs_and_stops_them_when_it_wakes_up(jobs: JobFile) -> None:
    """After a lease another engine runs them; what the first one's workers do is interrupted and never recorded."""
    with jobs.serve(LEASE="1.5") as one:
        names = [submit(one, "sleep", seconds=60) for _ in range(3)]
        wait_until(lambda: len(jobs.notes("run")) == 3, "the starts")
        with jobs.serve(LEASE="1.5") as other:
            jobs.stop_engine(one)
            try:
                jobs.wait_final(*names)
                assert jobs.notes("interrupted") == []
            finally:
                os.killpg(one.process.pid, signal.SIGCONT)
            wait_until(lambda: len(jobs.notes("interrupted")) == 3, "the interrupts")
            assert [jobs.job(name) for name in names] == [("succeeded", None, 2)] * 3
            assert [send(other, "GET", f"/v1/jobs/{name}/result").json() for name in names] == [2, 2, 2]
        # Alone, it runs jobs again, as another owner.
        last = submit(one, "square", input=1.0)
        jobs.wait_final(last)
        assert one.events("jobs-lease-lost")
    assert jobs.job(last) == ("succeeded", None, 1)


@pytest.mark.timed
@pytest.mark.parametrize("seconds", [3, pytest.param(10, marks=pytest.mark.thorough)])
def test_a_database_that_is_locked_for_seconds_delays_jobs_only(jobs: JobFile, seconds: int) -> None:
    """Direct calls are answered meanwhile; what is sent is stored later, and an end that came meanwhile is recorded."""
    with jobs.serve() as served, ThreadPoolExecutor(1) as executor:
        before = submit(served, "sleep", seconds=0.5)
        wait_until(lambda: jobs.notes("run", before), "the start")
        with contextlib.closing(sqlite3.connect(jobs.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            stored = executor.submit(put, served, "meanwhile", "square", input=2.0)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                answer = send(served, "POST", "/square", {"input": 2.0})
                assert (answer.status, answer.seconds < 1.0) == (200, True)
                time.sleep(0.02)  # about 50 calls a second are enough
            assert (stored.done(), jobs.job(before)[0]) == (False, "running")
            other.execute("ROLLBACK")
        assert stored.result().status == 201
        jobs.wait_final(before, "meanwhile")
    assert jobs.states() == {"succeeded": 2}
    assert (jobs.job(before)[2], jobs.notes("run", before)) == (1, [["1"]])


MOUNT = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT]


@pytest.mark.timed
def test_a_full_disk_refuses_jobs_and_heals(jobs: JobFile, tmp_path: Path) -> None:
    """With ``store-full``; direct calls go on, and what a job did meanwhile is recorded when there is room again."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run([*UNSHARE, str(small), "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets its users mount nothing")
    served = jobs.serve(PENSTOCK_JOBS_STORE=f"sqlite:///{small / 'jobs.db'}")
    served.command = [*UNSHARE, str(small), *served.command]
    with served:
        within = Path(f"/proc/{served.process.pid}/root{small}")
        running = submit(served, "sleep", seconds=1.0)
        wait_until(lambda: jobs.notes("run", running), "the start")
        fill(within / "ballast")
        numbers = itertools.count()
        refused = wait_until(lambda: refusal(served, f"full-{next(numbers)}"), "a refusal")
        assert refused is not None
        assert refused.json()["type"] == "urn:penstock:store-full"
        assert refused.headers["x-should-retry"] == "true"
        for _ in range(100):
            answer = send(served, "POST", "/square", {"input": 2.0})
            assert (answer.status, answer.seconds < 1.0) == (200, True)
            time.sleep(0.01)  # so that the job ends meanwhile
        assert send(served, "GET", f"/v1/jobs/{running}").json()["state"] == "running"
        (within / "ballast").unlink()
        assert put(served, "order-1", "square", input=3.0).status == 201
        for name in (running, "order-1"):
            assert send(served, "GET", f"/v1/jobs/{name}?wait=20").json()["state"] == "succeeded"
        copy_file(served, within, jobs.path)
    assert set(jobs.states()) == {"succeeded"}


def fill(ballast: Path) -> None:
    """Write until the file system has no room left."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def refusal(served: Served, name: str) -> Answer | None:
    answer = put(served, name, "square", input=2.0)
    return answer if answer.status == 503 else None


def copy_file(served: Served, folder: Path, path: Path) -> None:
    """Copy the database of a server that is held meanwhile: its folder is gone when it ends."""
    os.killpg(served.process.pid, signal.SIGSTOP)
    try:
        for suffix in ("", "-wal"):
            shutil.copy(folder / f"jobs.db{suffix}", path.with_name(path.name + suffix))
    finally:
        os.killpg(served.process.pid, signal.SIGCONT)


# ---- readers


def test_a_reader_that_connects_a_hundred_times_misses_nothing(jobs: JobFile) -> None:
    """Under load, and cut wherever it is: no event is missing, and none comes twice."""
    dice = random.Random(100)
    seen: list[int] = []
    with jobs.serve() as served:
        name = submit(served, "count", n=600, pause=0.005)
        load = b"\n".join(b'{"endpoint": "square", "input": {"input": 2.0}}' for _ in range(1000))
        assert served.post("/v1/jobs", load, media_type="application/x-ndjson").status == 202
        connections = 0
        while (piece := read_some(served, name, seen[-1] if seen else 0, dice.randint(1, 300))) is not None:
            seen += piece
            connections += 1
        jobs.wait_all_final()
    assert connections >= 100
    assert seen == [seq for (seq,) in jobs.rows("SELECT seq FROM penstock_job_events WHERE job = ? ORDER BY 1", name)]
    assert seen == list(range(1, len(seen) + 1))
    assert jobs.states() == {"succeeded": 1001}


def read_some(served: Served, name: str, after: int, size: int) -> list[int] | None:
    """Read up to ``size`` bytes of events, and hang up; return the numbers of the whole ones, and None at the end."""
    connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/jobs/{name}/events", headers={"Last-Event-ID": str(after)})
        response = connection.getresponse()
        if response.status == 204:
            return None
        assert response.status == 200
        whole, _, _ = response.read1(size).rpartition(b"\n\n")
        return [int(line[4:]) for line in whole.splitlines() if line.startswith(b"id: ")]


@pytest.mark.thorough
def test_clients_that_hang_up_during_a_wait_leave_nothing_behind(jobs: JobFile) -> None:
    """Their job runs once, to its end, and the server answers others."""
    with jobs.serve() as served:
        name = submit(served, "sleep", seconds=1.0)
        sockets = [served.connect() for _ in range(50)]
        for waiting in sockets:
            waiting.sendall(f"GET /v1/jobs/{name}?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        creating = served.connect()
        body = b'{"seconds": 1.0}'
        head = "POST /sleep HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nPrefer: respond-async, wait=60"
        creating.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: len(jobs.notes("run")) == 2, "both starts")
        for waiting in [*sockets, creating]:
            waiting.close()
        assert send(served, "POST", "/square", {"input": 2.0}).status == 200
        jobs.wait_all_final()
        wait_until(lambda: open_sockets(served) == 0, "the ends of the connections")
    assert jobs.states() == {"succeeded": 2}
    assert {len(jobs.notes("run", job)) for [job] in jobs.rows("SELECT id FROM penstock_jobs")} == {1}


def open_sockets(served: Served) -> int:
    """Return the number of established connections at the port of the server."""
    port = f":{served.port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(port) and line[3] in ("01", "08") for line in lines)


def test_readers_that_do_not_read_cost_little_memory(jobs: JobFile) -> None:
    """Forty of them follow a stream of 8 MB, which fits into no buffer of theirs, and the job ends all the same."""
    with jobs.serve() as served, contextlib.ExitStack() as stack:
        name = submit(served, "large", n=2000)
        sockets = [stack.enter_context(served.connect()) for _ in range(40)]
        before = sum(map(resident_mib, served.survivors()))
        for stuck in sockets:
            stuck.sendall(f"GET /v1/jobs/{name}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        jobs.wait_final(name, timeout=60)
        assert send(served, "POST", "/square", {"input": 2.0}).status == 200
        grown = sum(map(resident_mib, served.survivors())) - before
    # A copy for each reader would be 320 MiB. The stream is in memory once or twice, for the result.
    print(f"the memory has grown by {grown:.0f} MiB")
    assert grown < 100
    assert jobs.job(name)[0] == "succeeded"


# ---- many jobs


@pytest.mark.timed
@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=[pytest.mark.thorough, pytest.mark.timeout(600)])])
def test_no_job_waits_for_the_next_look_at_the_queue(jobs: JobFile, number: int) -> None:
    """Each is sent when the one before has ended, the moment at which news could be missed."""
    with jobs.serve() as served:
        seconds = [seconds_to_run(served) for _ in range(number)]
    # News that are missed cost a second. The machine may be slow once in a while, but not for the same time.
    late = [found for found in seconds if found > 0.7]
    print(f"the median is {median(seconds):.4f} s, and the longest time {max(seconds):.4f} s")
    assert len(late) <= number // 100, late


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_long_queue_costs_no_time(tmp_path: Path) -> None:
    """With 200,000 queued jobs a server starts, claims and lists as fast as with 200, and its memory is the same."""
    short, long = (measure(tmp_path / str(number), number) for number in (200, 200_000))
    print(f"200 queued: {short}; 200,000 queued: {long}")
    for what, seconds in short.items():
        assert long[what] < 2 * seconds + 0.05, (what, seconds, long[what])


def measure(folder: Path, number: int) -> dict[str, float]:
    """Return the seconds that a server takes with this number of jobs in its queue, and its memory in 100 MiB."""
    folder.mkdir()
    jobs = JobFile(folder)
    fill_queue(jobs.path, number)
    started = time.monotonic()
    with jobs.serve() as served:
        found = {"start": time.monotonic() - started}
        done = len(jobs.notes("leave"))
        started = time.monotonic()
        wait_until(lambda: len(jobs.notes("leave")) >= done + 40, "the next jobs")
        found["claim"] = time.monotonic() - started
        found["list"] = median(send(served, "GET", "/v1/jobs?state=queued&limit=100").seconds for _ in range(20))
        found["run"] = median(seconds_to_run(served) for _ in range(20))
        found["memory"] = sum(map(resident_mib, served.survivors())) / 100
    jobs.check()
    return found


def fill_queue(path: Path, number: int) -> None:
    store = SqliteJobStore(path)
    store.start(lambda _: None)
    request = b'{"seconds": 0.02}'
    new = [NewJob(id=f"old-{n}", endpoint="two", max_queued=number, request=request) for n in range(number)]
    for first in range(0, number, 5000):
        store.put(new[first : first + 5000], now=time.time()).result()
    store.close()


def seconds_to_run(served: Served) -> float:
    started = time.monotonic()
    name = submit(served, "square", input=2.0)
    assert send(served, "GET", f"/v1/jobs/{name}?wait=20").json()["state"] == "succeeded"
    return time.monotonic() - started


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@pytest.mark.thorough
def test_a_backlog_does_not_slow_down_direct_calls(jobs: JobFile) -> None:
    """Their 99th percentile grows by 30 % at most, for calls of 30 ms in a pool that jobs share."""
    with jobs.serve() as served:
        alone = percentile_99(served)
        lines = b"\n".join(b'{"endpoint": "two", "input": {"seconds": 0.03}}' for _ in range(5000))
        assert served.post("/v1/jobs", lines, media_type="application/x-ndjson").status == 202
        wait_until(lambda: jobs.states().get("succeeded"), "the first end")
        beside = percentile_99(served)
        assert "queued" in jobs.states()
    print(f"the 99th percentile is {alone:.4f} s alone, and {beside:.4f} s beside a backlog")
    assert beside < 1.3 * alone


def percentile_99(served: Served) -> float:
    """Return the best of three: other load of the machine must not fail the test."""

    def seconds() -> float:
        answer = send(served, "POST", "/two", {"seconds": 0.03})
        assert answer.status == 200, answer.body
        return answer.seconds

    return min(sorted(seconds() for _ in range(200))[-2] for _ in range(3))
