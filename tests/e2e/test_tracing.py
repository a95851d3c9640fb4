"""Traces of a real server, as a collector receives them: parents, links and times add up, however a job ends."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.collector import Collector, SpanSeen
from tests.e2e.watching import in_background, wait_idle, wait_running
from tests.serving import Answer, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "apps" / "tracing_app.py"
PARENT = "00f067aa0ba902b7"
SLACK = 0.005  # spans are rounded to nanoseconds, and the server's clock may be set while a test runs
_numbers = iter(range(1, 1000))


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def served(collector: Collector) -> Iterator[Served]:
    environment = {**collector.environment, "PENSTOCK_ACCESSLOG_ENABLED": "true"}
    with Served(APP, "--log-format", "json", environment=environment) as served:
        yield served


def new_trace() -> tuple[str, dict[str, str]]:
    """Return the id of a new trace, and the headers of a caller that has sampled it."""
    trace_id = f"{next(_numbers):032x}"
    return trace_id, {"traceparent": f"00-{trace_id}-{PARENT}-01"}


def call(served: Served, path: str, value: Any = None, **more: Any) -> tuple[Answer, str]:
    """Call an endpoint as a part of a new trace; return the answer, and the id of the trace."""
    trace_id, headers = new_trace()
    return served.post_json(path, value or {}, headers=headers, **more), trace_id


def assert_adds_up(spans: list[SpanSeen]) -> SpanSeen:
    """Check that waits and attempts follow each other inside the request's own span, without a gap; return that."""
    [server] = [span for span in spans if span.kind == "server"]
    steps = [span for span in spans if span.name in {"queue", "attempt"}]
    assert server.parent_id == PARENT
    assert {span.parent_id for span in steps} == {server.span_id}
    assert len({span.span_id for span in spans}) == len(spans)
    assert server.began - SLACK <= steps[0].began
    for before, after in itertools.pairwise(steps):
        assert abs(after.began - before.ended) < SLACK
    assert steps[-1].ended <= server.ended + SLACK
    assert all(span.began <= span.ended for span in spans)
    return server


def names(spans: list[SpanSeen]) -> list[str]:
    return [f"{span.name} {span.outcome}".rstrip() for span in spans]


def test_a_request_is_a_span_with_its_wait_and_its_attempt(served: Served, collector: Collector) -> None:
    """The attributes are those of the semantic conventions, and the worker is named."""
    before = time.time()
    answer, trace_id = call(served, "/square", {"input": 3})
    spans = collector.of_trace(trace_id, spans=3)
    server = assert_adds_up(spans)
    assert names(spans) == ["POST /square", "queue", "attempt ok"]
    assert before - SLACK <= server.began <= server.ended <= time.time() + SLACK
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": "/square",
        "http.response.status_code": 200,
        "url.path": "/square",
        "server.address": served.host,
        "server.port": served.port,
        "client.address": "127.0.0.1",
        "penstock.request_id": answer.headers["x-request-id"],
        "penstock.attempts": 1,
    }
    assert server.status == "unset"
    assert server.resource["service.name"] == "models"
    assert spans[2].attributes["penstock.worker"] == "default/0"


@pytest.mark.parametrize(
    ("path", "route"), [("/users/ada/name", "/users/{user}/name"), ("/v1/models/square", "/v1/models/{model}")]
)
def test_a_span_is_named_after_the_declared_path(served: Served, collector: Collector, path: str, route: str) -> None:
    """With its variables, of which clients choose the values; in a dialect, it is that of the operation."""
    answer, trace_id = call(served, path, {"input": 3} if "models" in path else {})
    server, *_ = collector.of_trace(trace_id, spans=3)
    assert answer.status == 200
    assert server.name == f"POST {route}"
    assert (server.attributes["http.route"], server.attributes["url.path"]) == (route, path)


@pytest.mark.parametrize("path", ["/square", "/threads", "/task"])
def test_a_handler_continues_the_trace(served: Served, collector: Collector, path: str) -> None:
    """For OpenTelemetry in the worker, the present span is that of the attempt, in every mode."""
    answer, trace_id = call(served, path, {"input": 1} if path == "/square" else {})
    *_, attempt = collector.of_trace(trace_id, spans=3)
    place = answer.json()["place"] if path == "/square" else answer.json()
    assert place == f"{trace_id}-{attempt.span_id}-01"


@pytest.mark.parametrize(("path", "name"), [("/step", "step"), ("/own", "look")])
def test_a_span_of_the_handler_is_a_child_of_its_attempt(
    served: Served, collector: Collector, path: str, name: str
) -> None:
    """OpenTelemetry is set up in the worker, after the fork: by the plug-in, or by the model itself."""
    _, trace_id = call(served, path)
    spans = {span.name: span for span in collector.of_trace(trace_id, spans=4)}
    own, attempt = spans[name], spans["attempt"]
    assert own.parent_id == attempt.span_id
    assert attempt.began - SLACK <= own.began <= own.ended <= attempt.ended + SLACK
    assert own.resource["service.name"] == "models"


def test_the_trace_goes_on_to_other_services(served: Served, collector: Collector) -> None:
    """``headers_for_downstream`` has the attempt as the parent; the rest of the caller's context is passed on."""
    trace_id, headers = new_trace()
    headers |= {"tracestate": "vendor=1,other=2", "baggage": "tenant=blue"}
    downstream = served.post_json("/ask", {}, headers=headers).json()
    server, *_, attempt = collector.of_trace(trace_id, spans=3)
    assert downstream["traceparent"] == f"00-{trace_id}-{attempt.span_id}-01"
    assert (downstream["tracestate"], downstream["baggage"]) == ("vendor=1,other=2", "tenant=blue")
    assert server.state == "vendor=1,other=2"
    assert served.post_json("/square", {"input": 1}, headers=headers).json()["baggage"] == {"tenant": "blue"}


def test_a_trace_that_is_not_sampled_is_only_passed_on(served: Served, collector: Collector) -> None:
    """The caller's span stays the parent, and there is no span of ours."""
    trace_id = f"{next(_numbers):032x}"
    parent = f"00-{trace_id}-{PARENT}-00"
    assert served.post_json("/ask", {}, headers={"traceparent": parent}).json()["traceparent"] == parent
    call(served, "/ask")
    collector.of_trace(call(served, "/ask")[1], spans=3)
    assert [span for span in collector.spans if span.trace_id == trace_id] == []


def test_a_request_without_a_trace_begins_one(served: Served, collector: Collector) -> None:
    """So does one with two of them, which is not valid."""
    for headers in ([], [("traceparent", f"00-{1:032x}-{PARENT}-01"), ("traceparent", f"00-{2:032x}-{PARENT}-01")]):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        with served.connect() as connection:
            head = f"POST /ask HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{lines}Connection: close\r\n"
            connection.sendall(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        _, trace_id, *_ = json.loads(answer.partition(b"\r\n\r\n")[2])["traceparent"].split("-")
        server, *_ = collector.of_trace(trace_id, spans=3)
        assert server.parent_id == ""


def test_a_stream_is_one_attempt_with_its_first_chunk(served: Served, collector: Collector) -> None:
    """The event lies inside the attempt, and the number of chunks is known."""
    trace_id, headers = new_trace()
    assert len(served.post_json("/count", {"n": 5}, headers=headers).body.splitlines()) == 5
    spans = collector.of_trace(trace_id, spans=3)
    server = assert_adds_up(spans)
    attempt = spans[-1]
    assert attempt.began + 0.01 <= attempt.events["first_chunk"] <= attempt.ended - 0.03
    assert attempt.attributes["penstock.chunks"] == 5
    assert server.ended - server.began >= 0.05


def test_a_batch_has_a_trace_of_its_own_with_links_to_its_members(served: Served, collector: Collector) -> None:
    """Each attempt links to the batch as well, and the handler continues the trace of the batch."""
    traces = [new_trace() for _ in range(3)]
    with in_background() as start:
        answers = [start(served.post_json, "/together", 1, headers=headers) for _, headers in traces]
        places = {answer.result().json() for answer in answers}
    attempts = []
    for trace_id, _ in traces:
        spans = collector.of_trace(trace_id, spans=3)
        assert_adds_up(spans)
        attempts.append(spans[-1])
    [batch] = collector.named("batch")
    assert places == {f"{batch.trace_id}-{batch.span_id}-01"}
    assert sorted(batch.links) == sorted((attempt.trace_id, attempt.span_id) for attempt in attempts)
    assert all(attempt.links == [(batch.trace_id, batch.span_id)] for attempt in attempts)
    assert (batch.parent_id, batch.attributes["penstock.batch.size"]) == ("", 3)
    assert all(abs(batch.began - attempt.began) < SLACK for attempt in attempts)


def test_an_error_of_the_handler_is_one_of_the_server(served: Served, collector: Collector) -> None:
    """Both spans have the code of the error, and its status."""
    answer, trace_id = call(served, "/fail")
    spans = collector.of_trace(trace_id, spans=3)
    server = assert_adds_up(spans)
    assert answer.status == server.attributes["http.response.status_code"] == 500
    assert names(spans)[1:] == ["queue", "attempt failed"]
    assert [span.status for span in spans] == ["error", "unset", "error"]
    assert {span.attributes.get("error.type") for span in spans} == {"handler-error", None}


def test_a_request_that_is_wrong_has_no_attempt(served: Served, collector: Collector) -> None:
    """A client's mistake is not an error of the server."""
    answer, trace_id = call(served, "/square", {"input": "x"})
    [server] = collector.of_trace(trace_id, spans=1)
    assert (answer.status, server.status) == (422, "unset")
    assert server.attributes["error.type"] == "invalid-request"


def test_a_job_that_expires_while_it_runs(served: Served, collector: Collector) -> None:
    """Its attempt ends when its caller is answered."""
    answer, trace_id = call(served, "/slow")
    spans = collector.of_trace(trace_id, spans=3)
    server = assert_adds_up(spans)
    assert answer.status == 504
    assert names(spans)[1:] == ["queue", "attempt expired"]
    assert spans[-1].attributes["error.type"] == server.attributes["error.type"] == "execution-timeout"
    assert 0.5 - SLACK <= spans[-1].ended - spans[-1].began < 2.0
    wait_idle(served, "slow")


def test_a_job_that_expires_in_its_queue(served: Served, collector: Collector) -> None:
    """It has a wait and no attempt."""
    with in_background() as start:
        first = start(call, served, "/slow")
        wait_running(served, "slow")
        answer, trace_id = call(served, "/slow")
        first.result()
    spans = collector.of_trace(trace_id, spans=2)
    assert_adds_up(spans)
    assert (answer.status, names(spans)) == (503, ["POST /slow", "queue expired"])
    assert spans[-1].attributes["error.type"] == "queue-timeout"
    wait_idle(served, "slow")


def test_a_job_whose_client_hangs_up(served: Served, collector: Collector) -> None:
    """It is cancelled, which is not an error; no status was sent."""
    trace_id, headers = new_trace()
    body = json.dumps({"n": 1000}).encode()
    with served.connect() as connection:
        lines = f"POST /count HTTP/1.1\r\nHost: test\r\ntraceparent: {headers['traceparent']}\r\n"
        connection.sendall(
            f"{lines}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        connection.recv(100)
    spans = collector.of_trace(trace_id, spans=3)
    server = assert_adds_up(spans)
    assert names(spans)[1:] == ["queue", "attempt cancelled"]
    assert [span.status for span in spans] == ["unset"] * 3
    assert server.attributes["error.type"] == "cancelled"
    assert "http.response.status_code" not in server.attributes


def test_a_job_that_is_retried(served: Served, collector: Collector) -> None:
    """Each attempt has a span, and the wait between them too, with the delay."""
    answer, trace_id = call(served, "/flaky")
    spans = collector.of_trace(trace_id, spans=5)
    server = assert_adds_up(spans)
    assert answer.json() == 2
    assert names(spans)[1:] == ["queue", "attempt retried", "queue", "attempt ok"]
    assert [spans[place].attributes["penstock.attempt"] for place in (2, 4)] == [1, 2]
    assert spans[3].attributes["penstock.retry.delay"] <= spans[3].ended - spans[3].began + SLACK
    assert (server.status, server.attributes["penstock.attempts"]) == ("unset", 2)


def test_a_job_that_loses_its_worker(served: Served, collector: Collector) -> None:
    """The lost attempt has a span, although no worker has reported its end."""
    answer, trace_id = call(served, "/crash")
    spans = collector.of_trace(trace_id, spans=5)
    assert_adds_up(spans)
    assert answer.json() == 2
    assert names(spans)[1:] == ["queue", "attempt lost", "queue", "attempt ok"]
    assert spans[2].attributes["error.type"] == "worker-lost"


def test_every_log_line_of_a_job_has_its_trace(served: Served) -> None:
    """The records of the handler, the lines of the engine about the job, and the line of the access log."""
    answer, trace_id = call(served, "/square", {"input": 2})
    failure, failed_id = call(served, "/fail")

    def lines_of(answer: Answer) -> list[dict[str, Any]]:
        request_id = answer.headers["x-request-id"]
        return [event for event in served.events() if event.get("request_id") == request_id]

    wait_until(lambda: len(lines_of(answer)) >= 2 and len(lines_of(failure)) >= 2, "the lines of both")
    assert {line["event"] for line in lines_of(answer)} == {"model", "request"}
    assert {line["event"] for line in lines_of(failure)} == {"handler-error", "request"}
    assert {line["trace_id"] for line in lines_of(answer)} == {trace_id}
    assert {line["trace_id"] for line in lines_of(failure)} == {failed_id}
    assert all(len(line["span_id"]) == 16 for line in [*lines_of(answer), *lines_of(failure)])


def test_durations_are_exported_as_metrics(served: Served, collector: Collector) -> None:
    """By route and status, in seconds, with the error if there is one."""

    def points(name: str) -> Callable[..., Any]:
        return lambda **wanted: next(
            (
                point
                for attributes, point in collector.metrics.get(name, ())
                if all(attributes.get(key.replace("_", ".")) == value for key, value in wanted.items())
            ),
            None,
        )

    call(served, "/fail")
    requests = points("http.server.request.duration")
    failed = wait_until(lambda: requests(http_route="/fail", error_type="handler-error"), "the metrics")
    assert failed.count >= 1
    assert sum(failed.bucket_counts) == failed.count
    assert 0 < failed.min <= failed.sum <= failed.max * failed.count
    assert len(failed.bucket_counts) == len(failed.explicit_bounds) + 1
    assert points("penstock.job.execution.duration")(penstock_endpoint="fail").count >= 1


def test_metrics_have_exemplars(served: Served, collector: Collector) -> None:
    """A slow request is found from the histogram that it is in, if the scraper asks for OpenMetrics."""
    _, trace_id = call(served, "/count", {"n": 1})
    server, _, attempt = collector.of_trace(trace_id, spans=3)
    text = served.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}).body.decode()
    lines = [line for line in text.splitlines() if trace_id in line]
    assert {line.partition("{")[0]: line.partition('span_id="')[2][:16] for line in lines} == {
        "penstock_http_response_seconds_bucket": server.span_id,
        "penstock_job_queue_seconds_bucket": attempt.span_id,
        "penstock_job_execution_seconds_bucket": attempt.span_id,
        "penstock_job_first_chunk_seconds_bucket": attempt.span_id,
    }


# ---- collectors with troubles, and several HTTP processes


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return an app that starts quickly."""
    source = """
        from penstock import App, Context

        app = App(__name__)

        @app.endpoint("/ask")
        def ask(ctx: Context) -> dict[str, str]:
            return ctx.headers_for_downstream()

        @app.endpoint("/fail")
        def fail() -> None:
            raise RuntimeError("it does not work")
    """
    return write_app(tmp_path, source)


def test_several_http_processes_trace_as_one_does(small: Path, collector: Collector) -> None:
    """The trace is read where the request arrives, and the spans are exported by the process of the engine."""
    with Served(small, "--http-workers", "2", environment=collector.environment) as served:
        answer, trace_id = call(served, "/ask")
        spans = collector.of_trace(trace_id, spans=3)
        server = assert_adds_up(spans)
        assert names(spans) == ["POST /ask", "queue", "attempt ok"]
        assert server.attributes["penstock.request_id"] == answer.headers["x-request-id"]
        assert answer.json()["traceparent"] == f"00-{trace_id}-{spans[2].span_id}-01"
        _, last = call(served, "/fail")
        assert served.stop() == 0
    assert names(collector.of_trace(last, spans=3))[1:] == ["queue", "attempt failed"]


def test_the_last_spans_are_exported_under_servers_that_end_abruptly(small: Path, collector: Collector) -> None:
    """Uvicorn ends by the signal itself once the application has stopped: no exit function of Python is called."""
    small.write_text(small.read_text(encoding="utf-8") + "\nimport penstock_falcon\nasgi = penstock_falcon.asgi(app)\n")
    late = {"OTEL_BSP_SCHEDULE_DELAY": "60000", "PENSTOCK_OTEL_EXIT_TIMEOUT": "20"}
    served = Served("", environment={**collector.environment, **late}, folder=small.parent)
    options = ["--host", served.host, "--port", str(served.port), "--log-level", "warning"]
    served.command = [sys.executable, "-m", "uvicorn", *options, f"{small.stem}:asgi"]
    with served:
        _, trace_id = call(served, "/ask")
        served.process.terminate()
        served.process.wait(10)
    assert names(collector.of_trace(trace_id, spans=3))[1:] == ["queue", "attempt ok"]


def test_a_collector_that_is_busy_is_asked_again(small: Path) -> None:
    """When it says so in ``Retry-After``; nothing is lost. The body is compressed if a variable says so."""
    with Collector([(503, {"Retry-After": "0"})]) as collector:
        environment = {
            **collector.environment,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret",
        }
        with Served(small, environment=environment) as served:
            _, trace_id = call(served, "/ask")
            assert names(collector.of_trace(trace_id, spans=3))[1:] == ["queue", "attempt ok"]
    assert len(collector.headers) >= 2
    assert {headers["content-encoding"] for headers in collector.headers} == {"gzip"}
    assert {headers["api-key"] for headers in collector.headers} == {"secret"}


@pytest.mark.timed
def test_a_collector_that_hangs_delays_nothing(small: Path) -> None:
    """Requests are answered as ever, and the server ends within the time that is allowed for the export."""
    with Collector(hangs=True) as collector:
        environment = {**collector.environment, "PENSTOCK_OTEL_EXIT_TIMEOUT": "0.5"}
        with Served(small, environment=environment) as served:
            call(served, "/ask")
            wait_until(lambda: collector.headers, "an export that hangs")
            assert all(call(served, "/ask")[0].seconds < 1.0 for _ in range(20))
            began = time.monotonic()
            os.kill(served.process.pid, signal.SIGTERM)
            assert served.process.wait(10) == 0
            assert time.monotonic() - began < 3.0


def test_a_collector_that_is_down_is_mentioned_once(small: Path) -> None:
    """Not for each batch, and in words of our own."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_METRICS_EXPORTER": "none",
    }
    with Served(small, "--log-format", "json", environment=environment) as served:
        call(served, "/ask")
        [line] = wait_until(lambda: served.events("otel-collector-lost"), "the line")
        for _ in range(5):
            call(served, "/ask")
        served.stop()
        assert served.events("otel-collector-lost") == [line]
        assert not any("pentelemetry" in text for text in served.log_lines())
