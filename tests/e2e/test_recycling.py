"""Workers that are recycled, spares, and pools that change their size, in real processes under load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.apps.recycling_app import KEY
from tests.e2e.watching import assert_problem, in_background
from tests.serving import ROOT, Served, wait_until

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "recycling_app.py"
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json") as served:
        yield served


def pool(served: Served, name: str) -> dict[str, Any]:
    """The pool as the status page shows it."""
    return served.status()["pools"][name]


def workers(served: Served, name: str, state: str) -> list[int]:
    """The process ids of the pool's workers that are in this state."""
    return [worker["pid"] for worker in pool(served, name)["workers"] if worker["state"] == state]


@contextmanager
def load(served: Served, path: str, clients: int = 3) -> Iterator[Counter[int]]:
    """Send requests until the end of the block; count the answers by their status."""
    statuses: Counter[int] = Counter()
    is_over = threading.Event()

    def send() -> None:
        while not is_over.is_set():
            statuses[served.post_json(path, {}).status] += 1

    with ThreadPoolExecutor(clients) as threads:
        running = [threads.submit(send) for _ in range(clients)]
        try:
            yield statuses
        finally:
            is_over.set()
            for each in running:
                each.result()


def test_a_leaking_handler_costs_no_request(served: Served) -> None:
    """Its workers are replaced one after the other, while the requests go on; the status and the metrics say why."""
    # The memory of a worker before its first job is the base. This one leaks more than its limit in 0.1 s.
    wait_until(
        lambda: all(worker["memory_bytes"] for worker in pool(served, "leaky")["workers"]), "both to be measured"
    )
    before = {worker["pid"] for worker in pool(served, "leaky")["workers"]}
    with load(served, "/leak") as statuses:
        wait_until(lambda: pool(served, "leaky")["recycled"].get("memory", 0) >= 2, "two workers are recycled")
        wait_until(lambda: not before & set(workers(served, "leaky", "ready")), "new workers")
    assert set(statuses) == {200}
    assert statuses[200] > 100
    event = next(event for event in served.events("recycle") if event["reason"] == "memory")
    assert event["memory_bytes"] > 80 << 20
    assert 'penstock_worker_recycles_total{pool="leaky",reason="memory"}' in served.get("/metrics").body.decode()


def test_a_job_that_takes_far_too_much_is_ended_with_its_worker(served: Served) -> None:
    """The job is a suspect and has one more try; then it fails. The log and the status have the reason."""
    answer = served.post_json("/gulp", {"mebibytes": 250})
    assert_problem(answer, "worker-lost", 503, retry=True)
    kills = [event for event in served.events("kill") if event["worker"] == "greedy/0"]
    assert len(kills) == 2
    assert "far above its limit of 80 MiB" in kills[0]["reason"]
    (worker,) = pool(served, "greedy")["workers"]
    assert worker["last_end"].startswith("killed: it uses ")


@pytest.mark.timed
def test_a_spare_takes_over_at_once(served: Served) -> None:
    """The next request is answered by the spare, long before a new worker could be ready."""
    (spare,) = wait_until(lambda: workers(served, "spared", "standby"), "a spare")
    (worker,) = workers(served, "spared", "ready")
    os.kill(worker, signal.SIGKILL)
    answer = served.post_json("/spared", {})
    assert (answer.status, answer.json()) == (200, spare)
    assert answer.seconds < 0.4
    wait_until(lambda: workers(served, "spared", "standby"), "another spare")


def test_a_model_that_fails_its_check_is_replaced(served: Served) -> None:
    """The check runs in the worker, between attempts."""
    broken = served.post_json("/fragile", {"break_it": True}).json()
    wait_until(lambda: pool(served, "fragile")["recycled"].get("check"), "a failed check")
    assert served.post_json("/fragile", {}).json() != broken
    (event,) = served.events("recycle")[-1:]
    assert (event["worker"], event["detail"]) == ("fragile/0", "Fragile.check returned False")


def test_an_interrupted_worker_is_replaced_where_the_pool_asks_for_it(served: Served) -> None:
    """It gets no more work: the next request waits for the new worker."""
    before = served.post_json("/suspect", {}).json()
    assert_problem(served.post_json("/suspect", {"seconds": 5.0}), "execution-timeout", 504, retry=False)
    assert served.post_json("/suspect", {}).json() != before
    assert pool(served, "suspect")["recycled"] == {"interrupt": 1}


def scale(served: Served, query: str, **headers: str) -> Any:
    return served.post(f"/-/scale?{query}", headers=headers or BEARER)


def test_a_pool_grows_and_shrinks_under_load(served: Served) -> None:
    """No request fails meanwhile, and none waits for more than those before it."""
    with load(served, "/elastic") as statuses:
        answer = scale(served, "pool=elastic&workers=3")
        assert (answer.status, answer.json()["target"]) == (202, 3)
        wait_until(lambda: len(workers(served, "elastic", "busy")) == 3, "three workers")
        assert scale(served, "pool=elastic&workers=1").status == 202
        wait_until(lambda: len(pool(served, "elastic")["workers"]) == 1, "one worker")
    assert set(statuses) == {200}


def test_a_worker_that_is_too_many_finishes_its_job(served: Served) -> None:
    """However long that takes; a new one does not wait for it."""
    scale(served, "pool=elastic&workers=2")
    wait_until(lambda: len(workers(served, "elastic", "ready")) == 2, "two workers")
    with in_background() as run:
        jobs = [run(served.post_json, "/elastic", {"seconds": 1.0}) for _ in range(2)]
        wait_until(lambda: len(workers(served, "elastic", "busy")) == 2, "two busy workers")
        scale(served, "pool=elastic&workers=1")
        assert len(workers(served, "elastic", "draining")) == 1
        assert [job.result(10.0).status for job in jobs] == [200, 200]


@pytest.mark.parametrize(
    ("query", "status"),
    [("pool=elastics&workers=2", 404), ("pool=elastic&workers=0", 422), ("pool=elastic&workers=1001", 422)],
)
def test_a_pool_cannot_be_scaled_to_anything(served: Served, query: str, status: int) -> None:
    """The pool must exist, and the number has bounds."""
    assert scale(served, query).status == status


def test_scaling_needs_the_key_of_shutdowns(served: Served) -> None:
    """The route is an operator's."""
    assert scale(served, "pool=elastic&workers=2", Authorization="Bearer guessed").status == 401


def run_scale(served: Served, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock_cli", "scale", "--url", served.base_url, *arguments]
    environment = {**os.environ, "PENSTOCK_SHUTDOWN_KEY": key}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)


def test_the_command_scales_pools(served: Served) -> None:
    """It prints what each pool has now, and exits with 0."""
    done = run_scale(served, "elastic=2", "spared=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("elastic: 2 workers")
    assert pool(served, "elastic")["target"] == 2


def test_the_command_says_why_it_failed(served: Served) -> None:
    """With the server's own words and exit code 1."""
    done = run_scale(served, "elastics=2")
    assert done.returncode == 1
    assert "there is no pool 'elastics'; did you mean elastic?" in done.stderr
