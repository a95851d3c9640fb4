"""Stored background jobs in real servers: another process puts them into the file, and reads what became of them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.job_store import FINAL, NewJob, StoredJob
from penstock.policies import OnLost
from penstock_jobs import SqliteJobStore
from tests.e2e.watching import in_background, worker_pid
from tests.job_rules import broken_rules
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import os
    import threading
    import time

    import trio

    from penstock import App, Batching, Context, Jobs, Response, Retries, Timeouts
    from penstock.errors import Retryable

    app = App(__name__)
    QUICK = Timeouts(grace=0.3)


    def note(text):
        with open(os.environ["LEDGER"], "a") as file:
            print(text, file=file, flush=True)


    @app.endpoint("/square", jobs=Jobs(lease=2), workers=2)
    def square(x: float, context: Context) -> list:
        note(f"{context.job_id} {context.claim}")
        context.progress(1, 2, "half")
        return [x * x, context.job_id, context.claim]


    @app.endpoint("/wait", concurrency=3, timeouts=QUICK, jobs=Jobs(concurrency=2, lease=2))
    async def wait(seconds: float, context: Context) -> int:
        note(f"{context.job_id} {context.claim}")
        await trio.sleep(seconds)
        return context.claim


    @app.endpoint("/thread", concurrency=2, workers=1, timeouts=QUICK, jobs=Jobs(concurrency=2, lease=2))
    def thread(seconds: float) -> float:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.01)
        return seconds


    @app.endpoint("/sleep", workers=2, timeouts=QUICK, jobs=Jobs(concurrency=2, lease=2))
    def sleep(seconds: float) -> float:
        time.sleep(seconds)
        return seconds


    @app.endpoint("/stubborn", workers=1, timeouts=QUICK, jobs=Jobs(lease=2))
    def stubborn(seconds: float) -> float:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                time.sleep(0.05)
            except BaseException:
                pass
        return seconds


    @app.endpoint("/count", workers=1, jobs=Jobs(lease=2))
    def count(n: int):
        for number in range(n):
            yield number


    @app.endpoint("/batch", batching=Batching(max_size=4, max_wait=0.05), workers=1, jobs=Jobs(lease=2))
    def batch(xs: list[float]) -> list[list]:
        return [[x, len(xs)] for x in xs]


    @app.endpoint("/made", workers=1, jobs=Jobs(lease=2))
    def made() -> Response:
        return Response(b"<p>", media_type="text/html", status=201, headers={"X-Made": "yes"})


    inside = 0


    @app.endpoint("/careless", workers=1, jobs=Jobs(lease=2))
    def careless() -> list:
        global inside
        inside += 1
        seen = inside
        time.sleep(0.005)
        inside -= 1
        return [seen, threading.current_thread() is threading.main_thread()]


    @app.endpoint("/fail", workers=1, jobs=Jobs(lease=2))
    def fail() -> None:
        raise ValueError("a secret")


    @app.endpoint("/once", workers=1, idempotent=False, timeouts=QUICK, jobs=Jobs(lease=2))
    def once(context: Context) -> None:
        note(f"{context.job_id} {context.claim}")
        time.sleep(30)


    @app.endpoint("/shaky", workers=1, retries=Retries(max_attempts=1), jobs=Jobs(lease=2))
    def shaky(context: Context) -> int:
        if context.claim == 1:
            raise Retryable("not yet", delay=0.2)
        return context.claim


    @app.endpoint("/poison", workers=1, jobs=Jobs(lease=2))
    def poison(is_poison: bool) -> str:
        if is_poison:
            os._exit(1)
        return "fine"


    @app.endpoint("/late", workers=1, timeouts=Timeouts(execution=0.3, grace=0.3), jobs=Jobs(lease=2))
    def late() -> None:
        time.sleep(30)
"""

WAYS = [(), ("--http-workers", "2")]
NAMES = ["one", "shared"]
_numbers = itertools.count(1)


class Jobs:
    """The file of a server, from outside."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jobs.db"
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.app = write_app(folder, APP)
        self.store = SqliteJobStore(self.path)
        self.store.start(lambda _: None)

    def serve(self, *options: str) -> Served:
        environment = {"LEDGER": str(self.ledger), "PENSTOCK_JOBS_STORE": f"sqlite:///{self.path}"}
        return Served(self.app, "--log-format", "json", *options, environment=environment)

    def put(self, endpoint: str, **value: Any) -> str:
        name = f"job-{next(_numbers)}"
        fate: OnLost = "fail" if endpoint == "once" else "retry"
        body = json.dumps(value).encode()
        job = NewJob(id=name, is_named=True, endpoint=endpoint, request=body, on_lost=fate)
        self.store.put([job], now=time.time()).result()
        return name

    def job(self, name: str) -> StoredJob:
        return self.store.get(name).result()

    def cancel(self, name: str) -> None:
        self.store.cancel(name, now=time.time()).result()

    def wait_started(self, *names: str) -> None:
        wait_until(lambda: all(self.job(name).started_at for name in names), f"the start of {names}")

    def wait_final(self, *names: str, timeout: float = 15.0) -> list[StoredJob]:
        wait_until(lambda: all(self.job(name).state in FINAL for name in names), f"the end of {names}", timeout=timeout)
        return [self.job(name) for name in names]

    def result(self, name: str) -> Any:
        found = self.store.result(name).result()
        return None if found is None else json.loads(found.body)

    def events(self, name: str) -> list[tuple[str, Any]]:
        return [(event.kind, json.loads(event.data)) for event in self.store.events(name).result()]

    def runs(self, name: str) -> list[int]:
        """Return the claims with which the handler was called."""
        lines = [line.split() for line in self.ledger.read_text().splitlines()]
        return [int(claim) for job, claim in lines if job == name]

    def freeze(self, served: Served) -> None:
        """Stop a server, but not in a transaction: the file would be locked for all others."""
        while True:
            for pid in served.survivors():
                os.kill(pid, signal.SIGSTOP)
            connection = sqlite3.connect(self.path, timeout=0.2)
            with contextlib.closing(connection), contextlib.suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
                return
            for pid in served.survivors():
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """Close the file, and check its invariants."""
        self.store.close()
        assert broken_rules(self.path) == {}


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    found = Jobs(tmp_path)
    yield found
    found.close()


@pytest.fixture(scope="module", params=WAYS, ids=NAMES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """The file of a server that runs."""
    found = Jobs(tmp_path_factory.mktemp("jobs"))
    with found.serve(*request.param) as served:
        found.served = served  # type: ignore[attr-defined] # for the tests that call it directly
        yield found
    found.close()


# ---- outcomes


def test_a_job_runs_with_its_id_its_claim_and_its_progress(running: Jobs) -> None:
    """Everything is recorded: the result, and each event in its order."""
    name = running.put("square", x=3)
    [job] = running.wait_final(name)
    assert (job.state, running.result(name)) == ("succeeded", [9.0, name, 1])
    assert running.events(name) == [
        ("state", {"state": "queued"}),
        ("state", {"state": "running", "claim": 1}),
        ("progress", {"done": 1.0, "total": 2.0, "message": "half"}),
        ("state", {"state": "succeeded"}),
    ]


def test_a_job_starts_soon(running: Jobs) -> None:
    """The news of another process are noticed, and not only the next look at the queue."""
    starts = []
    for _ in range(5):
        name = running.put("square", x=3)
        [job] = running.wait_final(name)
        assert job.started_at is not None
        starts.append(job.started_at - job.created_at)
    assert min(starts) < 0.5


@pytest.mark.timed
def test_two_jobs_run_at_a_time(running: Jobs) -> None:
    """``concurrency=2``, for tasks, threads and two workers: two jobs of a second end within 1.3 seconds, and not two.

    The machine may be slow once, but one after the other they would never be so quick.
    """
    for endpoint in ("wait", "thread", "sleep"):
        seconds = [seconds_of_two(running, endpoint)]
        while min(seconds) > 1.3 and len(seconds) < 4:
            seconds.append(seconds_of_two(running, endpoint))
        assert min(seconds) <= 1.3, (endpoint, seconds)


def seconds_of_two(running: Jobs, endpoint: str) -> float:
    names = [f"job-{next(_numbers)}" for _ in range(2)]
    new = [NewJob(id=name, endpoint=endpoint, request=b'{"seconds": 1.0}') for name in names]
    running.store.put(new, now=time.time()).result()
    rows = running.wait_final(*names)
    return max(row.finished_at or 0 for row in rows) - min(row.created_at for row in rows)


def test_a_handler_need_not_be_thread_safe(running: Jobs) -> None:
    """Unless threads are asked for, one call at a time runs in a process, of jobs and of direct callers together."""
    served: Served = running.served  # type: ignore[attr-defined] # see the fixture
    names = [running.put("careless") for _ in range(40)]
    with in_background() as begin:
        calls = [begin(served.post_json, "/careless", {}) for _ in range(20)]
        direct = [call.result().json() for call in calls]
    running.wait_final(*names)
    assert [*direct, *map(running.result, names)] == [[1, True]] * 60


def test_never_more_run_than_declared(running: Jobs) -> None:
    """The third waits in the store, although the worker has a slot for it."""
    names = [running.put("wait", seconds=0.5) for _ in range(3)]
    running.wait_started(*names[:2])
    assert running.job(names[2]).state == "queued"
    assert {job.state for job in running.wait_final(*names)} == {"succeeded"}


def test_a_stream_is_a_sequence_of_events_and_its_result_is_all_of_it(running: Jobs) -> None:
    """As lines of JSON."""
    name = running.put("count", n=500)
    assert running.wait_final(name)[0].state == "succeeded"
    assert [data for kind, data in running.events(name) if kind == "chunk"] == list(range(500))
    result = running.store.result(name).result()
    assert result is not None
    assert result.media_type == "application/x-ndjson"
    assert [json.loads(line) for line in result.body.splitlines()] == list(range(500))


def test_jobs_of_a_batching_endpoint_run_together(running: Jobs) -> None:
    """They are claimed up to the size of a batch, and each has its own result."""
    new = [NewJob(id=f"batch-{n}-{time.time()}", endpoint="batch", request=b"%d" % n) for n in range(4)]
    running.store.put(new, now=time.time()).result()
    names = [job.id for job in new]
    assert {job.state for job in running.wait_final(*names)} == {"succeeded"}
    assert [running.result(name) for name in names] == [[float(n), 4] for n in range(4)]


def test_a_response_is_kept_with_type_status_and_headers(running: Jobs) -> None:
    """As a direct caller would receive it."""
    name = running.put("made")
    running.wait_final(name)
    result = running.store.result(name).result()
    assert result is not None
    assert (result.body, result.media_type, result.status) == (b"<p>", "text/html", 201)
    assert {key.lower(): value for key, value in result.headers.items()} == {"x-made": "yes"}


def test_a_failure_is_kept_as_a_problem_document(running: Jobs) -> None:
    """Without what only the log may have."""
    name = running.put("fail")
    [job] = running.wait_final(name)
    assert (job.state, job.code) == ("failed", "handler-error")
    document = json.loads(job.error or b"")
    assert document["type"] == "urn:penstock:handler-error"
    assert "secret" not in document["detail"]


def test_invalid_input_is_a_failure_too(running: Jobs) -> None:
    """If it has come into the store in spite of all checks."""
    [job] = running.wait_final(running.put("square", y=3))
    assert (job.state, job.code) == ("failed", "invalid-request")


def test_a_job_that_ran_for_too_long_has_timed_out(running: Jobs) -> None:
    """The endpoint's timeouts hold."""
    [job] = running.wait_final(running.put("late"))
    assert (job.state, job.code) == ("timed_out", "execution-timeout")


def test_a_failure_that_may_pass_is_repeated_by_another_claim(running: Jobs) -> None:
    """After the time that the code has asked for."""
    name = running.put("shaky")
    [job] = running.wait_final(name)
    assert (job.state, job.claim, running.result(name)) == ("succeeded", 2, 2)


def test_the_operator_sees_what_is_in_the_store(running: Jobs) -> None:
    """On the status page and in the metrics, within seconds."""
    served: Served = running.served  # type: ignore[attr-defined] # see the fixture
    name = running.put("wait", seconds=30)
    running.wait_started(name)
    # The numbers are looked up every five seconds, and may still be those of an earlier test.
    wait_until(lambda: served.status()["services"]["jobs"]["jobs"].get("wait", {}).get("running") == 1, "the count")
    assert 'penstock_stored_jobs{endpoint="wait",state="running"} 1.0' in served.get("/metrics").body.decode()
    running.cancel(name)
    running.wait_final(name)


# ---- cancels


@pytest.mark.parametrize("endpoint", ["wait", "thread", "sleep", "stubborn"])
def test_a_running_job_is_cancelled(running: Jobs, endpoint: str) -> None:
    """An async handler, a thread, a sleep in C, and code that swallows everything, whose worker is killed."""
    name = running.put(endpoint, seconds=30)
    running.wait_started(name)
    running.cancel(name)
    [job] = running.wait_final(name)
    assert (job.state, job.code) == ("cancelled", "cancelled")
    served: Served = running.served  # type: ignore[attr-defined] # see the fixture
    assert served.post_json(f"/{endpoint}", {"seconds": 0.01}).status == 200


def test_a_queued_job_is_cancelled(running: Jobs) -> None:
    """It never runs."""
    names = [running.put("stubborn", seconds=0.5) for _ in range(2)]
    running.wait_started(names[0])
    running.cancel(names[1])
    first, second = running.wait_final(*names)
    assert (first.state, second.state, second.claim) == ("succeeded", "cancelled", 0)


def test_a_cancel_that_races_with_the_end_has_one_outcome(running: Jobs) -> None:
    """A job that was quicker has its result, one that was not has none; the events agree."""
    names = [running.put("wait", seconds=0.03) for _ in range(60)]
    for name in names:
        wait_until(lambda name=name: running.job(name).started_at or running.job(name).is_final, "the start")
        time.sleep(random.uniform(0, 0.04))
        running.cancel(name)
    rows = running.wait_final(*names)
    assert {row.state for row in rows} <= {"succeeded", "cancelled"}
    for row in rows:
        assert (running.result(row.id) is not None) == (row.state == "succeeded")
        finals = [data["state"] for kind, data in running.events(row.id) if kind == "state" and data["state"] in FINAL]
        assert finals == [row.state]


# ---- the ends of engines


def test_a_job_that_was_stored_before_the_start_runs(jobs: Jobs) -> None:
    """The server is ready once the store is open."""
    name = jobs.put("square", x=2)
    with jobs.serve():
        assert jobs.wait_final(name)[0].state == "succeeded"


@pytest.mark.parametrize("options", WAYS, ids=NAMES)
def test_a_stopped_server_gives_back_what_it_does_not_finish(jobs: Jobs, options: tuple[str, ...]) -> None:
    """A job that ends in time is recorded; another one is queued, uncounted; and nothing new is claimed."""
    with jobs.serve("--drain-timeout", "3", *options) as served:
        short, long = jobs.put("wait", seconds=1.0), jobs.put("wait", seconds=30)
        jobs.wait_started(short, long)
        served.process.send_signal(signal.SIGTERM)
        served.wait_for_line("draining: ")
        late = jobs.put("square", x=2)
        assert served.wait() == 0
    assert jobs.job(short).state == "succeeded"
    assert (jobs.job(long).state, jobs.job(long).claims) == ("queued", 0)
    assert (jobs.job(late).state, jobs.job(late).claims) == ("queued", 0)
    jobs.cancel(long)
    with jobs.serve():
        assert jobs.wait_final(late)[0].state == "succeeded"


def test_a_drain_does_not_run_twice_what_must_not(jobs: Jobs) -> None:
    """It fails, with the reason."""
    with jobs.serve("--drain-timeout", "0.5") as served:
        name = jobs.put("once")
        jobs.wait_started(name)
        assert served.stop() == 0
    assert (jobs.job(name).state, jobs.job(name).code) == ("failed", "worker-lost")


def test_jobs_of_a_killed_engine_run_again_at_once(jobs: Jobs) -> None:
    """On the same host no lease is waited for; each is recorded once, and what must not run twice fails."""
    with jobs.serve() as served:
        again, once = jobs.put("wait", seconds=2), jobs.put("once")
        jobs.wait_started(again, once)
        os.killpg(served.process.pid, signal.SIGKILL)
        served.wait()
    assert jobs.job(again).state == "running"
    with jobs.serve() as served:
        wait_until(lambda: jobs.runs(again) == [1, 2], "the second run", timeout=5)
        rows = jobs.wait_final(again, once)
        assert [event["queued"] for event in served.events("jobs-freed")] == [1]
    assert [(row.state, row.code) for row in rows] == [("succeeded", None), ("failed", "worker-lost")]
    assert (jobs.result(again), jobs.runs(once)) == (2, [1])


def test_a_killed_worker_is_no_new_claim(jobs: Jobs) -> None:
    """The engine runs the job again itself."""
    with jobs.serve() as served:
        name = jobs.put("wait", seconds=1)
        jobs.wait_started(name)
        os.kill(worker_pid(served, "default"), signal.SIGKILL)
        [job] = jobs.wait_final(name)
    assert (job.state, job.claim, jobs.runs(name)) == ("succeeded", 1, [1, 1])


def test_a_job_that_kills_its_workers_fails_alone(jobs: Jobs) -> None:
    """After two workers, within one claim; the jobs behind it run."""
    with jobs.serve():
        poison, *others = jobs.put("poison", is_poison=True), *(jobs.put("poison", is_poison=False) for _ in range(5))
        [job] = jobs.wait_final(poison)
        assert (job.state, job.code, job.claim) == ("failed", "worker-lost", 1)
        assert {row.state for row in jobs.wait_final(*others)} == {"succeeded"}


def test_a_job_whose_engines_die_fails_after_two_of_them(jobs: Jobs) -> None:
    """``max_claims``: it may be the cause."""
    name = jobs.put("wait", seconds=30)
    for claim in (1, 2):
        with jobs.serve() as served:
            wait_until(lambda claim=claim: jobs.runs(name)[-1:] == [claim], "the run")
            os.killpg(served.process.pid, signal.SIGKILL)
            served.wait()
    with jobs.serve():
        [job] = jobs.wait_final(name)
    assert (job.state, job.code, jobs.runs(name)) == ("failed", "worker-lost", [1, 2])


def test_two_servers_share_a_file(jobs: Jobs) -> None:
    """Each job runs once, in either; a server that is killed leaves its jobs to the other."""
    with jobs.serve() as one, jobs.serve() as other:
        names = [jobs.put("square", x=n) for n in range(100)]
        assert {job.state for job in jobs.wait_final(*names, timeout=30)} == {"succeeded"}
        assert [len(jobs.runs(name)) for name in names] == [1] * 100
        held = [jobs.put("wait", seconds=3) for _ in range(4)]
        jobs.wait_started(*held)
        os.killpg(one.process.pid, signal.SIGKILL)
        one.wait()
        assert {job.state for job in jobs.wait_final(*held, timeout=30)} == {"succeeded"}
        assert sorted(job.claim for job in map(jobs.job, held)) == [1, 1, 2, 2]
        assert other.get("/readyz").status == 200


def test_an_engine_that_wakes_up_too_late_is_refused(jobs: Jobs) -> None:
    """Its job runs elsewhere after a lease; its own handler is interrupted, and what that has to say is thrown away."""
    with jobs.serve() as one:
        name = jobs.put("wait", seconds=4)
        jobs.wait_started(name)
        jobs.freeze(one)
        with jobs.serve() as other:
            wait_until(lambda: jobs.runs(name) == [1, 2], "the second run")
            for pid in one.survivors():
                os.kill(pid, signal.SIGCONT)
            one.wait_for_line("jobs-lease-lost")
            one.wait_for_line('"event": "interrupt"')
            [job] = jobs.wait_final(name)
            assert (job.state, job.claim, jobs.result(name)) == ("succeeded", 2, 2)
            assert other.events("jobs-freed")
        # It goes on as another owner.
        assert jobs.wait_final(jobs.put("wait", seconds=0))[0].state == "succeeded"


def test_direct_calls_find_a_slot_in_spite_of_a_backlog(jobs: Jobs) -> None:
    """One slot of two is theirs: they never wait for a stored job."""
    with jobs.serve() as served:
        for n in range(200):
            jobs.put("square", x=n)
        with in_background() as begin:
            answers = [begin(served.post_json, "/square", {"x": 5}) for _ in range(20)]
            assert [answer.result().status for answer in answers] == [200] * 20


def test_a_store_that_cannot_be_used_stops_the_start(jobs: Jobs) -> None:
    """It is left as it is, and the reason is in the last words."""
    jobs.path.with_name("other.db").write_bytes(b"this is no database" * 1000)
    served = jobs.serve()
    served.environment["PENSTOCK_JOBS_STORE"] = f"sqlite:///{jobs.path.with_name('other.db')}"
    served.ready_timeout = None
    with served:
        assert served.wait() != 0
        assert "cannot be read as a database of SQLite" in served.output()
