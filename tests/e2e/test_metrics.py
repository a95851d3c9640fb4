"""``/metrics`` of a real server: after known requests it has exactly their numbers."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from penstock_metrics.orca import REPORT_SECONDS
from tests.e2e.watching import wait_running
from tests.serving import WAYS, Served, wait_until

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "apps" / "observed_app.py"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(APP) as served:
        yield served


def scrape(served: Served) -> Callable[..., float]:
    """Return what looks a sample up, by its name and labels; 0 if there is none."""
    answer = served.get("/metrics")
    assert answer.status == 200
    families = parser.text_string_to_metric_families(answer.body.decode())
    found = {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
    return lambda name, **labels: found.get((f"penstock_{name}", frozenset(labels.items())), 0.0)


def wait_for(served: Served, name: str, value: float, **labels: str) -> Callable[..., float]:
    """Wait until a sample has this value, and return all that were scraped with it."""

    def found() -> Callable[..., float] | None:
        sample = scrape(served)
        return sample if sample(name, **labels) == value else None

    sample = wait_until(found, f"penstock_{name} {labels} to be {value}")
    assert sample is not None
    return sample


def test_each_request_is_counted_once(served: Served) -> None:
    """Answers, refusals and errors, by what became of them and by status."""
    assert [served.post_json("/square", {"input": n}).status for n in (1, 2, 3)] == [200] * 3
    assert served.post_json("/square", {"input": "x"}).status == 422
    assert served.post_json("/fail", {"input": 1}).status == 500
    assert served.get("/secret/path").status == 404
    sample = scrape(served)
    assert sample("jobs_total", endpoint="square", code="ok") == 3
    assert sample("jobs_total", endpoint="square", code="invalid-request") == 1
    assert sample("jobs_total", endpoint="fail", code="handler-error") == 1
    assert sample("http_responses_total", endpoint="square", status="200") == 3
    assert sample("http_responses_total", endpoint="square", status="422") == 1
    assert sample("http_responses_total", endpoint="fail", status="500") == 1
    assert sample("http_responses_total", endpoint="other", status="404") == 1
    assert sample("job_queue_seconds_count", endpoint="square") == 3
    assert sample("job_execution_seconds_count", endpoint="square") == 3
    assert sample("execution_seconds_total", endpoint="square", useful="yes") > 0
    assert sample("workers", pool="default", state="ready") == 1
    assert sample("ready") == 1


def test_streams_have_a_first_chunk(served: Served) -> None:
    """And are counted when they have ended."""
    assert served.post_json("/count", {"n": 3}).lines() == [0, 1, 2]
    sample = wait_for(served, "http_responses_total", 1, endpoint="count", status="200")
    assert sample("job_first_chunk_seconds_count", endpoint="count") == 1
    assert sample("jobs_total", endpoint="count", code="ok") == 1


def test_a_batch_is_one_attempt_for_many(served: Served) -> None:
    """Its size is in the histogram."""
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda text: served.post_json("/embed", text), ["a", "bb", "ccc", "dddd"]))
    assert [answer.json() for answer in answers] == [1, 2, 3, 4]
    sample = scrape(served)
    assert sample("batch_jobs_count", endpoint="embed") == 1
    assert sample("batch_jobs_sum", endpoint="embed") == 4
    assert sample("jobs_total", endpoint="embed", code="ok") == 4


def test_work_for_somebody_who_has_left_is_waste(served: Served) -> None:
    """A hang-up is a 499, an interrupt, and seconds that were of no use."""
    body = json.dumps({"seconds": 60}).encode()
    head = f"POST /sleep HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with contextlib.closing(served.connect()) as client:
        client.sendall(head.encode() + body)
        wait_running(served, "sleep")
        assert scrape(served)("running_jobs", endpoint="sleep") == 1
    sample = wait_for(served, "http_responses_total", 1, endpoint="sleep", status="499")
    assert sample("jobs_total", endpoint="sleep", code="cancelled") == 1
    assert sample("interrupts_total", endpoint="sleep", why="cancel") == 1
    wait_until(lambda: scrape(served)("execution_seconds_total", endpoint="sleep", useful="no") > 0, "the waste")
    assert scrape(served)("execution_seconds_total", endpoint="sleep", useful="yes") == 0


def test_a_loss_is_counted_and_the_job_that_survived_it_once(served: Served) -> None:
    """One answer, from the second attempt, on a worker that took the dead one's place."""
    assert served.post_json("/die_once", {}).json() == 2
    sample = wait_for(served, "worker_losses_total", 1, pool="die_once")
    assert sample("jobs_total", endpoint="die_once", code="ok") == 1
    assert sample("worker_restarts_total", pool="die_once") == 1
    assert sample("worker_kills_total", pool="die_once") == 0
    assert sample("worker_setup_seconds_count", pool="die_once") == 2
    assert sample("retries_total", endpoint="die_once", code="worker-lost") == 1


def test_a_kill_is_counted(served: Served) -> None:
    """With the interrupt that did not help, and the restart that follows."""
    assert served.post_json("/stubborn", {}).status == 504
    sample = wait_for(served, "worker_kills_total", 1, pool="stubborn")
    assert sample("jobs_total", endpoint="stubborn", code="execution-timeout") == 1
    assert sample("interrupts_total", endpoint="stubborn", why="execution") == 1
    assert sample("worker_losses_total", pool="stubborn") == 0
    wait_for(served, "worker_restarts_total", 1, pool="stubborn")


def test_scrapers_that_ask_for_open_metrics_get_it(served: Served) -> None:
    """As Prometheus does."""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    answer = served.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert list(openmetrics_parser.text_string_to_metric_families(answer.body.decode()))


def answered_at_once(served: Served, path: str, value: object, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """Send a request in one piece on a connection that has served another, as the direct way needs it."""
    body = json.dumps(value).encode()
    lines = {"Host": "test", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
    with served.connect() as client:
        for _ in range(2):
            time.sleep(REPORT_SECONDS)  # the request's first report is not the last one of the request before
            client.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
            response = http.client.HTTPResponse(client)
            response.begin()
            response.read()
    return response


@pytest.mark.parametrize("options", [(), ("--http-workers", "2")], ids=["one process", "two processes"])
def test_load_reports_are_in_responses(options: tuple[str, ...]) -> None:
    """Whichever way a request takes, its response has the load at its end, when it does not count any more."""
    with Served(APP, *options, environment={"PENSTOCK_METRICS_ORCA": "json"}) as served:
        for headers in WAYS.values():
            for path, value in (("/sleep", {"seconds": 0.06}), ("/count", {"n": 1}), ("/fail", {"input": 2})):
                response = answered_at_once(served, path, value, headers)
                form, _, report = response.headers["endpoint-load-metrics"].partition(" ")
                assert form == "JSON"
                assert path != "/sleep" or json.loads(report)["named_metrics"] == {"jobs": 0.0}
                assert response.headers.get_all("endpoint-load-metrics") == [f"{form} {report}"]
        assert "endpoint-load-metrics" not in served.get("/livez").headers


def test_it_can_be_switched_off() -> None:
    """Then there is no such page."""
    with Served(APP, environment={"PENSTOCK_METRICS_ENABLED": "false"}) as served:
        assert served.get("/metrics").status == 404
