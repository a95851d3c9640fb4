"""Metrics: what is counted, how it is exposed, and that clients cannot make it grow."""

from __future__ import annotations

import math
import re
import string
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from penstock import App, Batching, Timeouts
from penstock.errors import PluginError, QueueFull
from penstock.hooks import (
    AttemptInterrupted,
    HookFailed,
    JobsCounted,
    Record,
    RequestAnswered,
    RetryScheduled,
    Route,
    RouteRequest,
    WorkerKilled,
    WorkerLost,
    WorkerReady,
    WorkerRecycled,
    WorkerRestarted,
)
from penstock.hooks.registry import Registry
from penstock.hooks.settings import Sources
from penstock.scheduler.lane_counts import MOST_UNREPORTED, LaneCounts
from penstock.testing import Behaviour, PluginHarness
from penstock_metrics import MetricsPlugin, MetricsSettings
from tests.serving import ROOT

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def square(input: float) -> float:
    return input**2


def app_under_test() -> App:
    app = App("tests")
    app.endpoint("/square", max_queue=7)(square)

    @app.endpoint("/count")
    def count(n: int) -> Iterable[int]:
        yield from range(n)

    @app.endpoint("/embed", batching=Batching(max_size=8), workers=2)
    def embed(batch: list[str]) -> list[int]:
        return [len(item) for item in batch]

    return app


STATES = ("queued", "running", "succeeded")
STORED = {
    "store": "<a store>",
    "jobs": {"square": {"queued": 5, "succeeded": 7}, "count": {"running": 1}},
    "oldest_seconds": {"square": 2.5},
    "stale_writes": 4,
    "running_here": 6,
}


class StatusOnly:
    """A stand-in for the engine with the one method that the route uses."""

    def __init__(self, **states: list[str]) -> None:
        self.states = states

    def status(self) -> dict[str, Any]:
        lane = {"queued": 3, "queued_bytes": 512, "running": 2}
        return {
            "ready": True,
            "draining": False,
            "endpoints": dict.fromkeys(("square", "count", "embed"), lane),
            "pools": {name: {"workers": [{"state": s} for s in states]} for name, states in self.states.items()},
            "services": {"jobs": dict(STORED), "other": {}},
        }


class Scraped:
    """The plug-in with its observers and its route, set up as an engine does it."""

    def __init__(self, **settings: Any) -> None:
        self.app = app_under_test()
        self.registry = Registry([MetricsPlugin(MetricsSettings(**settings))], app=self.app)
        self.registry.observe(self.app)

    @property
    def route(self) -> Route:
        return next(route for route in self.registry.routes(self.app) if route.name == "metrics")

    def tell(self, *records: Record) -> None:
        for record in records:
            observer = self.registry.observer_of(type(record))
            assert observer is not None
            observer(record)

    def answer(self, accept: str | None = None) -> tuple[str, str]:
        request = RouteRequest(request_id="a", method="GET", path="/metrics", header={"accept": accept}.get)
        engine: Any = StatusOnly(default=["ready"], embed=["busy", "restarting"])
        response = self.route.handler(request, engine)
        assert response.status == 200
        return response.body.decode(), response.media_type

    def samples(self) -> Samples:
        families = parser.text_string_to_metric_families(self.answer()[0])
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, frozenset(labels.items())))


def answered(code: str = "ok", endpoint: str = "square", **times: list[float]) -> JobsCounted:
    times = {"queue_seconds": [0.0], "execution_seconds": [0.02]} | times
    return JobsCounted(endpoint=endpoint, codes={code: 1}, **times)


def response(status: int = 200, endpoint: str = "square", **more: Any) -> RequestAnswered:
    more = {"request_id": "a", "method": "POST", "path": "/square", "code": "ok", "seconds": 0.03} | more
    return RequestAnswered(endpoint=endpoint, status=status, **more)


# ---- what is counted


def test_jobs_are_counted_by_endpoint_and_code() -> None:
    """Each outcome has its own series, which starts at 0 so that the first occurrence is an increase."""
    scraped = Scraped()
    scraped.tell(answered(), answered(), answered("handler-error"), answered(endpoint="count"))
    assert scraped.value("penstock_jobs_total", endpoint="square", code="ok") == 2
    assert scraped.value("penstock_jobs_total", endpoint="square", code="handler-error") == 1
    assert scraped.value("penstock_jobs_total", endpoint="count", code="ok") == 1
    assert scraped.value("penstock_jobs_total", endpoint="square", code=QueueFull.code) == 0


def test_times_fall_into_buckets_up_to_and_with_their_bound() -> None:
    """A bucket includes its bound; the last one holds everything; sum and count agree."""
    scraped = Scraped(buckets=(0.01, 0.1, 1.0))
    scraped.tell(answered(queue_seconds=[5.0, 0.1]), answered(queue_seconds=[0.001, 0.100001]))
    name = "penstock_job_queue_seconds"
    found = {bound: scraped.value(f"{name}_bucket", endpoint="square", le=bound) for bound in ("0.01", "0.1", "1.0")}
    assert found == {"0.01": 1, "0.1": 2, "1.0": 3}
    assert scraped.value(f"{name}_bucket", endpoint="square", le="+Inf") == 4
    assert scraped.value(f"{name}_count", endpoint="square") == 4
    assert scraped.value(f"{name}_sum", endpoint="square") == pytest.approx(5.201001)


def served() -> PluginHarness:
    app = App("tests")
    app.endpoint("/square", max_queue=1, timeouts=Timeouts(queue=2.0))(square)
    return PluginHarness(app, [MetricsPlugin])


def value_of(harness: PluginHarness, name: str, **labels: str) -> float:
    families = parser.text_string_to_metric_families(harness.route("/metrics").body.decode())
    samples = {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
    return samples[f"penstock_{name}", frozenset({"endpoint": "square", **labels}.items())]


def test_refused_jobs_never_waited() -> None:
    """They are counted by code and do not lower the queue time; a job that expired in the queue did wait."""
    harness = served()
    for _ in range(3):
        harness.request(behaviour=Behaviour.STUCK)
    harness.advance(3.0)
    assert value_of(harness, "jobs_total", code="queue-full") == 1
    assert value_of(harness, "jobs_total", code="queue-timeout") == 1
    assert value_of(harness, "job_queue_seconds_count") == 1
    assert value_of(harness, "job_queue_seconds_sum") == 2.0
    assert value_of(harness, "job_execution_seconds_count") == 0


def test_every_job_is_counted_once_however_often_it_is_looked_at() -> None:
    """More jobs than are reported at a time, and scrapes in between: all of them add up."""
    harness = served()
    total = 2 * MOST_UNREPORTED + 5
    for number in range(total):
        if number % 100 == 7:
            assert value_of(harness, "jobs_total", code="ok") == number
        harness.request()
        harness.advance(0.02)
    assert value_of(harness, "jobs_total", code="ok") == total
    assert value_of(harness, "job_queue_seconds_count") == total
    assert value_of(harness, "job_execution_seconds_count") == total
    assert value_of(harness, "execution_seconds_total", useful="yes") == pytest.approx(0.01 * total)


def test_the_time_of_an_attempt_without_a_caller_is_wasted() -> None:
    """The caller may have left, or the worker may have died."""
    harness = served()
    stopped = harness.request(behaviour=Behaviour(seconds=1.0, acknowledges=0.5)).job
    assert stopped is not None
    harness.cancel(stopped)
    harness.advance(2.0)
    wasted = value_of(harness, "execution_seconds_total", useful="no")
    assert wasted == 0.5
    harness.request(behaviour=Behaviour(seconds=0.25, crashes=True))
    harness.advance(5.0)
    assert value_of(harness, "execution_seconds_total", useful="no") >= wasted + 0.25
    assert value_of(harness, "execution_seconds_total", useful="yes") == 0.0


def test_first_chunks_are_those_of_streams() -> None:
    """An endpoint that is not declared to stream has no such series before it does."""
    scraped = Scraped()
    name = "penstock_job_first_chunk_seconds_sum"
    assert (scraped.value(name, endpoint="count"), scraped.value(name, endpoint="square")) == (0.0, None)
    scraped.tell(
        answered(endpoint="count", first_chunk_seconds=[0.5]), answered(), answered(first_chunk_seconds=[0.25])
    )
    assert (scraped.value(name, endpoint="count"), scraped.value(name, endpoint="square")) == (0.5, 0.25)


def attempt(endpoint: str, jobs: int, useful: int, seconds: float) -> JobsCounted:
    """Return what a lane counts of an attempt."""
    lane = LaneCounts(is_batched=True)
    lane.record_attempt(jobs, useful, seconds)
    counts = lane.take()
    return JobsCounted(
        endpoint=endpoint,
        codes={},
        useful_seconds=counts.useful_seconds,
        wasted_seconds=counts.wasted_seconds,
        batch_sizes=counts.batch_sizes,
    )


def test_goodput_is_the_share_of_the_time_that_somebody_waited_for() -> None:
    """Time in user code is useful in proportion to its jobs that still had a caller."""
    scraped = Scraped()
    scraped.tell(attempt("square", 1, 1, 0.5), attempt("square", 1, 0, 0.25), attempt("embed", 4, 3, 1.0))
    name = "penstock_execution_seconds_total"
    assert scraped.value(name, endpoint="square", useful="yes") == 0.5
    assert scraped.value(name, endpoint="square", useful="no") == 0.25
    assert scraped.value(name, endpoint="embed", useful="yes") == 0.75
    assert scraped.value(name, endpoint="embed", useful="no") == 0.25


def test_batches_are_those_of_endpoints_that_batch() -> None:
    """Batch sizes form a histogram; for other endpoints each would be 1."""
    scraped = Scraped()
    scraped.tell(attempt("embed", 8, 8, 0.1), attempt("embed", 3, 3, 0.1), attempt("square", 1, 1, 0.1))
    assert scraped.value("penstock_batch_jobs_bucket", endpoint="embed", le="4.0") == 1
    assert scraped.value("penstock_batch_jobs_bucket", endpoint="embed", le="8.0") == 2
    assert scraped.value("penstock_batch_jobs_sum", endpoint="embed") == 11
    assert scraped.value("penstock_batch_jobs_count", endpoint="square") is None


def test_retries_and_interrupts_are_counted_with_their_cause() -> None:
    """Retries by the code of the error, interrupts by their reason."""
    scraped = Scraped()
    retry = RetryScheduled(endpoint="square", request_id="a", attempt=1, delay=0.1, code="worker-lost")
    scraped.tell(retry, AttemptInterrupted(endpoint="square", worker="default/0", request_id="a", why="execution"))
    assert scraped.value("penstock_retries_total", endpoint="square", code="worker-lost") == 1
    assert scraped.value("penstock_retries_total", endpoint="square", code="handler-error") == 0
    assert scraped.value("penstock_interrupts_total", endpoint="square", why="execution") == 1
    assert scraped.value("penstock_interrupts_total", endpoint="square", why="cancel") == 0


def test_workers_are_counted_by_pool() -> None:
    """By setup time and by how they ended; the reason can be any text, so it is not a label."""
    scraped = Scraped()
    scraped.tell(
        WorkerReady(worker="embed/0", pool="embed", seconds=2.0),
        WorkerLost(worker="embed/0", pool="embed", reason="killed by SIGSEGV"),
        WorkerKilled(worker="embed/1", pool="embed", reason="it did not stop"),
        WorkerRestarted(worker="embed/0", pool="embed", delay=0.0),
        WorkerRestarted(worker="embed/1", pool="embed", delay=1.0),
        WorkerRecycled(worker="embed/1", pool="embed", reason="memory"),
    )
    assert scraped.value("penstock_worker_recycles_total", pool="embed", reason="memory") == 1
    assert scraped.value("penstock_worker_recycles_total", pool="embed", reason="age") == 0
    counters = ("losses", "kills", "restarts")
    assert [scraped.value(f"penstock_worker_{name}_total", pool="embed") for name in counters] == [1, 1, 2]
    assert [scraped.value(f"penstock_worker_{name}_total", pool="default") for name in counters] == [0, 0, 0]
    assert scraped.value("penstock_worker_setup_seconds_sum", pool="embed") == 2.0


def test_responses_are_counted_by_status() -> None:
    """Including routes; all paths that match nothing share a series."""
    scraped = Scraped()
    scraped.tell(response(), response(499), response(200, "livez"), response(404, ""), response(404, ""))
    name = "penstock_http_responses_total"
    assert scraped.value(name, endpoint="square", status="200") == 1
    assert scraped.value(name, endpoint="square", status="499") == 1
    assert scraped.value(name, endpoint="livez", status="200") == 1
    assert scraped.value(name, endpoint="other", status="404") == 2
    assert scraped.value("penstock_http_response_seconds_sum", endpoint="square") == 0.06


def test_failures_of_hooks_are_counted() -> None:
    """By plug-in and hook."""
    scraped = Scraped()
    scraped.tell(HookFailed(plugin="auth", hook="penstock_authenticator", error="KeyError"))
    assert scraped.value("penstock_hook_failures_total", plugin="auth", hook="penstock_authenticator") == 1


def test_gauges_are_those_of_the_moment() -> None:
    """They are read from the engine on scrape."""
    scraped = Scraped()
    assert scraped.value("penstock_queued_jobs", endpoint="square") == 3
    assert scraped.value("penstock_queued_bytes", endpoint="square") == 512
    assert scraped.value("penstock_running_jobs", endpoint="square") == 2
    assert scraped.value("penstock_queue_limit_jobs", endpoint="square") == 7
    assert scraped.value("penstock_workers", pool="default", state="ready") == 1
    assert scraped.value("penstock_workers", pool="embed", state="restarting") == 1
    assert scraped.value("penstock_workers", pool="embed", state="ready") == 0
    assert (scraped.value("penstock_ready"), scraped.value("penstock_draining")) == (1, 0)


# ---- how it is shown


def test_the_text_is_prometheus_own_unless_open_metrics_is_asked_for() -> None:
    """The ``Accept`` header decides, and the response has the type it announces."""
    scraped = Scraped()
    scraped.tell(answered())
    text, media_type = scraped.answer()
    assert media_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "# EOF" not in text
    text, media_type = scraped.answer("application/openmetrics-text; version=1.0.0,text/plain;q=0.5")
    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name for family in openmetrics_parser.text_string_to_metric_families(text)}
    assert {"penstock_jobs", "penstock_build"} <= families


NONSENSE = [
    "application/openmetrics-text; version=x",
    "application/openmetrics-text; version=2.x",
    "application/openmetrics-text; version=1.0.0; escaping=\u2028",
    "application/openmetrics-text; version=999.0.0",
    "text/plain; version=",
    ";,;" * 9000,
]


@pytest.mark.parametrize("accept", NONSENSE)
def test_nonsense_in_the_accept_header_gets_plain_text(accept: str) -> None:
    """A client with an unreadable preference gets the format that every scraper reads."""
    text, media_type = Scraped().answer(accept)
    assert "penstock_jobs_total" in text
    assert media_type.startswith(("text/plain; version=", "application/openmetrics-text; version="))
    assert media_type.isprintable()


def test_the_route_is_closed_where_there_is_an_authenticator() -> None:
    """It is not one of the open routes; and its path can be changed."""
    route = Scraped(path="/internal/metrics").route
    assert (route.path, route.name, route.method, route.is_open) == ("/internal/metrics", "metrics", "GET", False)


def test_process_metrics_can_be_left_out() -> None:
    """They are exposed by default; without them, only Penstock's own metrics are."""
    assert Scraped().value("process_open_fds") is not None
    names = {name for name, _ in Scraped(process=False).samples()}
    assert all(name.startswith("penstock_") for name in names)


def test_the_library_is_not_imported_before_a_server_needs_it() -> None:
    """Commands such as ``penstock check`` import every plug-in, and have no use for prometheus_client."""
    program = (
        "import sys\n"
        "from penstock_metrics import MetricsPlugin, MetricsSettings\n"
        "from penstock.hooks.registry import Registry\n"
        "Registry([MetricsPlugin(MetricsSettings())])\n"
        "print('prometheus_client' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


def test_two_engines_in_a_process_do_not_mix() -> None:
    """Each exposes its own numbers."""
    first, second = Scraped(), Scraped()
    first.tell(answered())
    assert second.value("penstock_jobs_total", endpoint="square", code="ok") == 0


def test_names_follow_the_conventions() -> None:
    """Prefix, base unit, ``_total`` for counters only, a help text for each; and no duplicate series."""
    scraped = Scraped(process=False)
    text, _ = scraped.answer()
    for family in parser.text_string_to_metric_families(text):
        assert re.fullmatch(r"penstock_[a-z_]+", family.name)
        assert len(family.documentation) > 10
        assert family.name.endswith(("_seconds", "_jobs", "_bytes")) or family.type != "histogram"
        assert not re.search(r"_(ms|milliseconds|kb|count|info_info)$", family.name)
    series = [line.rpartition(" ")[0] for line in text.split("\n") if not line.startswith("#")]
    assert len(series) == len(set(series))


# ---- bounds


def hostile_values() -> list[str]:
    odd = [
        '"} 1\npenstock_jobs_total{code="ok"} 9',
        "\x00\x1b[31m",
        "a" * 5000,
        "\u2028\udc80",
        "{}",
        "",
        *string.printable,
    ]
    return odd + [f"/users/{number}" for number in range(2000)]


def hostile_records() -> Iterable[Record]:
    for value in hostile_values():
        yield answered(value, value)
        yield answered(value)
        yield attempt(value, 1, 1, 0.1)
        yield response(200, value, path=value, request_id=value, principal=value, address=value, method=value)
        yield response(hash(value), code=value)
        yield AttemptInterrupted(endpoint=value, worker=value, request_id=value, why=value)
        yield RetryScheduled(endpoint=value, request_id=value, attempt=1, delay=0.1, code=value)
        yield WorkerReady(worker=value, pool=value, seconds=1.0)
        yield WorkerLost(worker=value, pool=value, reason=value)
        yield HookFailed(plugin=value, hook=value, error=value)


def test_no_value_from_outside_makes_the_number_of_series_grow() -> None:
    """Twice as much hostile input adds no series, and the text still parses."""
    scraped = Scraped()
    scraped.tell(*hostile_records())
    before = scraped.answer()[0].count("\n")
    assert before < 2500
    scraped.tell(*hostile_records())
    assert scraped.answer()[0].count("\n") == before


def test_what_is_not_known_counts_as_other() -> None:
    """An endpoint, a code, a status or a reason that is not declared."""
    scraped = Scraped()
    interrupt = AttemptInterrupted(endpoint="square", worker="default/0", request_id="a", why="nobody knows")
    scraped.tell(answered("teapot"), answered(endpoint="/etc/passwd"), response(9999), interrupt)
    assert scraped.value("penstock_jobs_total", endpoint="square", code="other") == 1
    assert scraped.value("penstock_jobs_total", endpoint="other", code="ok") == 1
    assert scraped.value("penstock_http_responses_total", endpoint="square", status="other") == 1
    assert scraped.value("penstock_interrupts_total", endpoint="square", why="other") == 1


# ---- settings


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"path": "metrics"}, "path='metrics' must be a path such as '/metrics'"),
        ({"path": "/"}, "must be a path"),
        ({"path": "/a b"}, "must be a path"),
        ({"buckets": []}, "give 1 to 100"),
        ({"buckets": [0.0, 1.0]}, "above 0"),
        ({"buckets": [1.0, math.inf]}, r"\+Inf is added automatically"),
        ({"buckets": [1.0, 1.0]}, "above the one before"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], complaint: str) -> None:
    """At start-up, with the fix."""
    with pytest.raises(ValueError, match=complaint):
        MetricsSettings(**settings)


def test_buckets_may_come_from_the_environment() -> None:
    """As numbers separated by commas."""
    sources = Sources({}, {"PENSTOCK_METRICS_BUCKETS": "0.1, 1,10"})
    assert sources.resolve("metrics", MetricsSettings).settings.buckets == (0.1, 1.0, 10.0)


def test_a_path_that_an_endpoint_has_is_refused() -> None:
    """The error has both names."""
    with pytest.raises(PluginError, match=r"its path '/square' is that of endpoint 'square'; set its setting"):
        Scraped(path="/square")


# ---- background jobs


def test_background_jobs_are_shown_by_state() -> None:
    """Jobs that have ended are left out; a state without jobs falls to 0."""
    scraped = Scraped()
    shown = {state: scraped.value("penstock_stored_jobs", endpoint="square", state=state) for state in STATES}
    assert shown == {"queued": 5, "running": 0, "succeeded": None}
    assert scraped.value("penstock_stored_job_age_seconds", endpoint="square") == 2.5
    assert scraped.value("penstock_stored_job_age_seconds", endpoint="count") == 0
    assert scraped.value("penstock_stored_jobs_here") == 6
    assert scraped.value("penstock_stored_job_claims_lost_total") == 4


@pytest.mark.parametrize("services", [{}, {"jobs": {"store": None, "running_here": 0}}])
def test_without_a_store_there_are_no_such_metrics(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor before it is open."""
    status = StatusOnly(default=["ready"]).status() | {"services": services}
    monkeypatch.setattr(StatusOnly, "status", lambda _: status)
    assert "penstock_stored" not in Scraped().answer()[0]


# ---- the docs


def documented() -> set[tuple[str, str, tuple[str, ...]]]:
    page = (ROOT / "docs" / "how-to" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\|", page, re.MULTILINE)
    return {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_docs_list_what_is_shown() -> None:
    """Each metric with its type and labels, and no others."""
    scraped = Scraped()
    scraped.tell(response(), HookFailed(plugin="auth", hook="penstock_authenticator", error="KeyError"))
    shown = set()
    for family in parser.text_string_to_metric_families(scraped.answer()[0]):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = family.name + ("_total" if family.type == "counter" else "")
        shown.add((name, family.type, tuple(sorted(labels))))
    assert {(name, kind, tuple(sorted(labels))) for name, kind, labels in documented()} == shown


def test_the_docs_list_the_settings() -> None:
    """Each setting with its default."""
    page = (ROOT / "docs" / "how-to" / "metrics.md").read_text(encoding="utf-8")
    for name in MetricsSettings.__struct_fields__:
        assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE), name
