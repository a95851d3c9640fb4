"""Rate limits over HTTP: the responses to callers, and when they are admitted again."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serving import HOST, Answer, Served, free_port, wait_until

pytestmark = pytest.mark.e2e

TARGET = "tests/e2e/apps/ratelimit_app.py"
REDIS = shutil.which("redis-server")


def square(served: Served, **more: object) -> Answer:
    return served.post_json("/square", {"input": 3}, **more)


def test_every_response_has_the_fields_and_the_last_is_refused() -> None:
    """200, a bad request and the 429 alike; the 429 says when to come again, and is safe to send again."""
    with Served(TARGET, environment={"PENSTOCK_RATELIMIT_REQUESTS": "3/hour"}) as served:
        answers = [square(served), served.post_json("/square", {"input": "x"}), square(served), square(served)]
        assert [answer.status for answer in answers] == [200, 422, 200, 429]
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"default";q=3;w=3600'}
        told = [answer.headers["ratelimit"].split(";t=") for answer in answers]
        assert [remaining for remaining, _ in told] == [
            '"default";r=2',
            '"default";r=1',
            '"default";r=0',
            '"default";r=0',
        ]
        assert all(3500 < int(seconds) <= 3600 for _, seconds in told)
        refused = answers[-1]
        assert refused.json()["error"]["code"] == "rate-limited"
        assert 3500 < int(refused.headers["retry-after"]) <= 3600
        assert refused.headers["x-should-retry"] == "true"
        assert served.get("/livez").status == 200
        assert "ratelimit" not in served.get("/readyz").headers


def test_a_caller_who_waits_is_let_in() -> None:
    """A second later, in real time."""
    with Served(TARGET, environment={"PENSTOCK_RATELIMIT_REQUESTS": "2/second"}) as served:
        statuses = [square(served).status for _ in range(10)]
        assert 429 in statuses
        wait_until(lambda: square(served).status == 200, "the end of the second", timeout=5)


def test_places_come_back_when_a_job_is_over_or_its_client_has_gone() -> None:
    """Two at a time, of one address; a hang-up frees its place, as an answer does."""
    environment = {"PENSTOCK_RATELIMIT_CONCURRENT": "2"}
    with Served(TARGET, environment=environment) as served, ThreadPoolExecutor(2) as threads:
        slow = [threads.submit(served.post_json, "/sleep", {"seconds": 1.0}) for _ in range(2)]
        wait_until(lambda: served.status()["endpoints"]["sleep"]["running"] == 2, "both to run")
        refused = square(served)
        assert refused.status == 429
        assert refused.headers["ratelimit"] == '"concurrent";r=0'
        assert refused.headers["ratelimit-policy"] == '"concurrent";q=2;qu="concurrent-requests"'
        assert [future.result().status for future in slow] == [200, 200]
        assert square(served).status == 200
        for _ in range(5):
            connection = http.client.HTTPConnection(served.host, served.port, timeout=10)
            connection.request("POST", "/sleep", json.dumps({"seconds": 30}), {"Content-Type": "application/json"})
            wait_until(lambda: served.status()["endpoints"]["sleep"]["running"], "the job to run")
            connection.close()
            wait_until(lambda: not served.status()["endpoints"]["sleep"]["running"], "the job to end")
        assert square(served).headers["ratelimit"] == '"concurrent";r=1'


def test_a_limit_of_an_endpoint_that_does_not_exist_stops_the_start() -> None:
    """With the endpoint that was meant."""
    environment = {"PENSTOCK_RATELIMIT_ENDPOINTS": '{"sqare": {"requests": ["1/minute"]}}'}
    with Served(TARGET, environment=environment, ready_timeout=None) as served:
        assert served.wait(30) != 0
        assert "endpoint 'sqare', which does not exist; did you mean square?" in served.output()


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    if REDIS is None:
        pytest.skip("there is no redis-server: apt-get install redis-server")
    port = free_port()
    command = [REDIS, "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    for line in process.stdout:
        if b"Ready to accept connections" in line:
            break
    yield port
    process.kill()
    process.wait(timeout=10)
    process.stdout.close()


def test_two_servers_share_a_limit_in_redis(redis_port: int) -> None:
    """Four requests are four, wherever they arrive; and both go on when Redis has gone."""
    environment = {
        "PENSTOCK_RATELIMIT_REQUESTS": "4/hour",
        "PENSTOCK_RATELIMIT_REDIS_URL": f"redis://{HOST}:{redis_port}",
        "PENSTOCK_RATELIMIT_REDIS_TIMEOUT": "10",
    }
    with Served(TARGET, environment=environment) as one, Served(TARGET, environment=environment) as two:
        statuses = [square(served).status for served in (one, two, one, two, one, two)]
        assert statuses == [200, 200, 200, 200, 429, 429]
        assert one.stop() == 0


def test_without_its_redis_a_server_serves() -> None:
    """No rate limit is enforced, one line of the log says so, and it does not show the password."""
    environment = {
        "PENSTOCK_RATELIMIT_REQUESTS": "1/hour",
        "PENSTOCK_RATELIMIT_REDIS_URL": f"redis://:hunter2@{HOST}:{free_port()}",
    }
    with Served(TARGET, environment=environment) as served:
        answers = [square(served) for _ in range(5)]
        assert {answer.status for answer in answers} == {200}
        assert all("ratelimit" not in answer.headers for answer in answers)
        assert served.wait_for_line("Redis does not answer, so no rate limit is enforced")
        assert "hunter2" not in served.output()
