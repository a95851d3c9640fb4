"""The client's spans and durations: parents, ends and attributes, with each driver and against a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import anyio
import httpx2
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode, TraceFlags

from penstock_client import AsyncClient, Client, Hedge, Retries, Timeouts, errors
from penstock_client.opentelemetry import BOUNDS, OpenTelemetryTracer
from tests.client.drivers import DRIVERS, Act, call, drive, one, stream
from tests.client.scripted_server import End, ScriptedServer, Step, answer, chunked
from tests.collector import Collector, SpanSeen
from tests.serving import Served, wait_until, write_app

QUICK = Retries(base=0.001)
ONCE = Retries(max_attempts=1)
SECRET = "sk-very-secret"
FAILED = b'{"error":{"code":"x","message":""}}\n'
FULL = answer(b'{"error":{"code":"queue-full","message":"full"}}', status=503)


class Traced:
    """A tracer that keeps its spans and durations in memory."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.provider = TracerProvider(sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        meters = MeterProvider([self.reader])
        self.tracer = OpenTelemetryTracer(tracer_provider=self.provider, meter_provider=meters)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that have ended."""
        return self.exporter.get_finished_spans()

    def call(self) -> tuple[ReadableSpan, list[ReadableSpan]]:
        """Return the span of the only call, and those of its requests; check that they belong together."""
        [whole] = [span for span in self.spans if span.name == "call"]
        requests = [span for span in self.spans if span is not whole]
        for span in requests:
            assert span.parent is not None
            assert (span.parent.span_id, span.kind) == (whole.context.span_id, SpanKind.CLIENT)
            assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time
        assert whole.kind is SpanKind.INTERNAL
        return whole, requests

    def durations(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """Return the points of each metric, with their attributes."""
        groups = self.reader.get_metrics_data().resource_metrics
        metrics = [metric for group in groups for scope in group.scope_metrics for metric in scope.metrics]
        return {one.name: [(dict(point.attributes), point) for point in one.data.data_points] for one in metrics}


@pytest.fixture
def traced() -> Traced:
    return Traced()


def place_of(span: ReadableSpan) -> str:
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


def failure_of(span: ReadableSpan) -> str:
    """Return the ``error.type`` of a span, "" if it has not failed; check that its status agrees."""
    reason = span.attributes.get("error.type", "")
    assert span.status.status_code is (StatusCode.ERROR if reason else StatusCode.UNSET)
    assert not span.status.description  # the text of an exception may quote anything
    assert not span.events
    return reason


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_call_is_a_span_with_its_request_below_it(driver: str, traced: Traced) -> None:
    """The attributes are those of the semantic conventions; the request sends its own span as the parent."""
    with ScriptedServer([(answer(),)]) as server:
        one(driver, server.url, call("v1/classify?token=private", {}), tracer=traced.tracer)
        [sent] = server.requests
    whole, [request] = traced.call()
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "url.full": f"{server.url}/v1/classify",
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
        "http.response.status_code": 200,
    }
    assert dict(whole.attributes) == {
        "penstock.endpoint": "v1/classify",
        "penstock.request_id": sent.headers["x-request-id"],
        "penstock.attempts": 1,
    }
    assert (request.name, failure_of(request), failure_of(whole)) == ("POST", "", "")
    assert sent.headers["traceparent"] == place_of(request)
    assert whole.parent is None


@pytest.mark.parametrize("driver", DRIVERS)
def test_each_request_of_a_call_has_a_span(driver: str, traced: Traced) -> None:
    """They are siblings, numbered, and each is named to the server as the parent of its own spans."""
    with ScriptedServer([(FULL,), (End.CLOSE,), (answer(),)]) as server:
        one(driver, server.url, call(idempotent=True), tracer=traced.tracer, retries=QUICK)
        sent = [request.headers["traceparent"] for request in server.requests]
    whole, requests = traced.call()
    assert sent == [place_of(request) for request in requests]
    assert [failure_of(request) for request in requests] == ["503", "connection-lost", ""]
    assert [request.attributes.get("http.request.resend_count") for request in requests] == [None, 1, 2]
    assert [request.attributes.get("http.response.status_code") for request in requests] == [503, None, 200]
    assert (whole.attributes["penstock.attempts"], failure_of(whole)) == (3, "")


FAILURES: dict[str, tuple[tuple[Step, ...], str, str]] = {
    "an error status": ((FULL,), "503", "queue-full"),
    "a connection that is cut": ((End.CLOSE,), "connection-lost", "connection-lost"),
    "an answer that is cut": ((answer(b"{}")[:-1], End.CLOSE), "answer-cut", "connection-lost"),
    "no answer in time": ((End.SILENCE,), "first-byte-timeout", "first-byte-timeout"),
    "an answer that cannot be read": ((answer(b"<html>"),), "", "invalid-answer"),
}


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_failure_is_on_both_spans(driver: str, what: str, traced: Traced) -> None:
    """The request says what it met, and the call has the code of its error."""
    script, met, code = FAILURES[what]
    with ScriptedServer([script]) as server:
        error = one(
            driver,
            server.url,
            call(),
            tracer=traced.tracer,
            retries=ONCE,
            timeouts=Timeouts(first_byte=0.1 if End.SILENCE in script else None),
        )
    whole, [request] = traced.call()
    assert (error.code, failure_of(whole)) == (code, code)
    assert failure_of(request) == met


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_call_that_sends_nothing_is_a_span_too(driver: str, traced: Traced) -> None:
    """An open breaker, a limit, a deadline in the past: the reason is on the span of the call."""
    with ScriptedServer([(End.CLOSE,)]) as server:
        act = call(timeout=0.001)
        error = one(driver, server.url, act, tracer=traced.tracer)
        assert server.requests == []
    whole, requests = traced.call()
    assert (failure_of(whole), error.code, requests) == ("total-timeout", "total-timeout", [])
    assert whole.attributes["penstock.attempts"] == 0


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_key_that_cannot_be_had_ends_the_spans(driver: str, traced: Traced) -> None:
    """The callable of the program may raise; the type of its exception is the reason, and its text is nowhere."""

    def key() -> str:
        raise LookupError(SECRET)

    error = one(driver, "http://127.0.0.1:9", call(), tracer=traced.tracer, key=key)
    whole, [request] = traced.call()
    assert isinstance(error, LookupError)
    assert failure_of(whole) == failure_of(request) == "LookupError"
    assert SECRET not in "".join(span.to_json() for span in traced.spans)


# ---- streams


STREAMS: dict[str, tuple[tuple[Step, ...], Act, str]] = {
    "read to its end": ((chunked(b"1\n", b"2\n"),), stream(), ""),
    "left early": ((chunked(b"1\n", end=False), End.SILENCE), stream(1), ""),
    "cut": ((chunked(b"1\n", end=False), End.CLOSE), stream(), "truncated-stream"),
    "ended by an error": ((chunked(b"1\n", FAILED, end=False), End.CLOSE), stream(), "stream-failed"),
    "silent": ((chunked(b"1\n", end=False), End.SILENCE), stream(), "idle-timeout"),
}


@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_spans_of_a_stream_end_with_it(driver: str, how: str, traced: Traced) -> None:
    """Not with its head; and an error on its way is on both."""
    script, act, code = STREAMS[how]
    with ScriptedServer([script]) as server:
        one(driver, server.url, act, tracer=traced.tracer, timeouts=Timeouts(idle=0.1 if how == "silent" else 5))
    whole, [request] = traced.call()
    assert failure_of(whole) == failure_of(request) == code
    assert request.attributes["http.response.status_code"] == 200


def test_a_stream_has_no_ended_span_while_it_is_read(traced: Traced) -> None:
    """An error that the program catches in its block is noted, and an error of the program's own is not."""
    with ScriptedServer([(chunked(b"1\n", end=False), End.CLOSE)]) as server:
        client = Client(server.url, tracer=traced.tracer)
        with client, client.stream("write", {}) as events:
            assert next(events) == 1
            assert traced.spans == ()
            with pytest.raises(errors.TruncatedStream):
                next(events)
        whole, [request] = traced.call()
        assert failure_of(whole) == failure_of(request) == "truncated-stream"


@pytest.mark.parametrize("is_chat", [False, True])
def test_an_exception_in_the_block_of_a_stream_is_the_programs_own(traced: Traced, *, is_chat: bool) -> None:
    """The stream was left early, as by ``break``."""
    event = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    with ScriptedServer([(chunked(event, media_type="text/event-stream", end=False), End.SILENCE)]) as server:
        client = Client(server.url, tracer=traced.tracer)
        opened = client.chat_stream("m", [{"role": "user", "content": "a"}]) if is_chat else client.stream("write")
        with pytest.raises(ZeroDivisionError), client, opened as events:
            assert 1 / (next(iter(events)) is None)
    whole, [request] = traced.call()
    assert failure_of(whole) == failure_of(request) == ""


def test_a_chat_answer_that_cannot_be_used_is_on_the_span(traced: Traced) -> None:
    """A whole one that is empty, and a streamed one that is cut."""
    messages = [{"role": "user", "content": "a"}]
    event = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    cut = chunked(event, media_type="text/event-stream", end=False)
    with ScriptedServer([(answer(),), (cut, End.CLOSE)]) as server, Client(server.url, tracer=traced.tracer) as client:
        with pytest.raises(errors.InvalidAnswer):
            client.chat("m", messages)
        with client.chat_stream("m", messages) as events, pytest.raises(errors.TruncatedStream):
            list(events)
    named = [(span.name, failure_of(span)) for span in traced.spans]
    assert named == [
        ("POST", ""),
        ("call", "invalid-answer"),
        ("POST", "truncated-stream"),
        ("call", "truncated-stream"),
    ]


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_error_status_in_place_of_a_stream(driver: str, traced: Traced) -> None:
    """The request that met it ends at once, and the stream is that of the next one."""
    with ScriptedServer([(FULL,), (chunked(b"1\n"),)]) as server:
        assert one(driver, server.url, stream(), tracer=traced.tracer, retries=QUICK) == [1]
    _, requests = traced.call()
    assert [failure_of(request) for request in requests] == ["503", ""]
    assert requests[0].end_time <= requests[1].start_time


# ---- hedged and cancelled calls


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_request_that_was_overtaken_is_cancelled(backend: str, traced: Traced, *, is_stream: bool) -> None:
    """Both requests are below the call, which has the answer of the quicker one."""

    async def main(server: ScriptedServer) -> None:
        async with AsyncClient(server.url, tracer=traced.tracer, hedge=Hedge(after=0.05)) as client:
            if is_stream:
                async with client.stream("write", {}, idempotent=True) as events:
                    assert [event async for event in events] == [1]
            else:
                await client.call("classify", {}, idempotent=True)

    with ScriptedServer([(End.SILENCE,), (chunked(b"1\n") if is_stream else answer(),)]) as server:
        anyio.run(main, server, backend=backend)
    whole, requests = traced.call()
    again = {request.attributes.get("http.request.resend_count"): failure_of(request) for request in requests}
    assert (again, failure_of(whole)) == ({None: "cancelled", 1: ""}, "")


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_call_says_so(backend: str, traced: Traced, *, is_stream: bool) -> None:
    """Both spans end as ``cancelled``, before and after the head of a stream."""
    script: tuple[Step, ...] = (chunked(b"1\n", end=False), End.SILENCE) if is_stream else (End.SILENCE,)

    async def read(client: AsyncClient, scope: anyio.CancelScope) -> None:
        async with client.stream("write", {}) as events:
            async for _ in events:
                scope.cancel()

    async def cancel_when_sent(server: ScriptedServer, scope: anyio.CancelScope) -> None:
        await anyio.to_thread.run_sync(wait_until, lambda: server.requests, "the request")
        scope.cancel()

    async def main(server: ScriptedServer) -> None:
        async with AsyncClient(server.url, tracer=traced.tracer) as client, anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                if is_stream:
                    await read(client, scope)
                else:
                    group.start_soon(cancel_when_sent, server, scope)
                    await client.call("classify", {})

    with ScriptedServer([script]) as server:
        anyio.run(main, server, backend=backend)
    whole, [request] = traced.call()
    assert failure_of(whole) == failure_of(request) == "cancelled"


# ---- parents


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_current_span_is_the_parent(driver: str, traced: Traced) -> None:
    """Its trace and its baggage go on; the client's spans are not current, in a loop or out of it."""
    tracer = traced.provider.get_tracer("test")
    token = context.attach(baggage.set_baggage("tenant", "blue"))
    try:
        with ScriptedServer([(answer(),)]) as server, tracer.start_as_current_span("job") as job:
            drive(driver, server.url, call(), call(), tracer=traced.tracer)
            assert trace.get_current_span() is job
    finally:
        context.detach(token)
    calls = [span for span in traced.spans if span.name == "call"]
    assert [span.parent.span_id for span in calls] == [job.get_span_context().span_id] * 2
    assert {span.context.trace_id for span in traced.spans} == {job.get_span_context().trace_id}
    assert [request.headers["baggage"] for request in server.requests] == ["tenant=blue"] * 2


def test_calls_of_many_threads_do_not_mix(traced: Traced) -> None:
    """Each has the parent of its own thread."""
    tracer = traced.provider.get_tracer("test")
    parents: dict[str, str] = {}

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=request.headers["traceparent"])

    client = Client("http://test", http_client=_function(respond), tracer=traced.tracer)

    def work(number: int) -> None:
        with tracer.start_as_current_span(f"job {number}") as job:
            for _ in range(20):
                parents[client.call("classify").value] = f"{job.get_span_context().trace_id:032x}"

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(parents) == 160
    assert all(f"-{trace_id}-" in sent for sent, trace_id in parents.items())


OTHER = f"00-{7:032x}-{8:016x}-01"


@pytest.mark.parametrize("has_current", [False, True])
def test_a_parent_in_the_headers_counts(traced: Traced, *, has_current: bool) -> None:
    """Those that ``from_context`` takes over, for instance: their trace goes on, whatever span is current."""
    sent: list[httpx2.Headers] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers)
        return httpx2.Response(200, json=1)

    client = Client("http://test", http_client=_function(respond), tracer=traced.tracer)
    ours = client.with_options(headers={"traceparent": OTHER, "tracestate": "vendor=1"})
    if has_current:
        with traced.provider.get_tracer("test").start_as_current_span("job"):
            ours.call("classify")
    else:
        ours.call("classify")
    [whole] = [span for span in traced.spans if span.name == "call"]
    [request] = [span for span in traced.spans if span.name == "POST"]
    assert (whole.context.trace_id, whole.parent.span_id) == (7, 8)
    assert (sent[0]["traceparent"], sent[0]["tracestate"]) == (place_of(request), "vendor=1")


def test_a_span_inside_the_trace_of_the_headers_is_nearer(traced: Traced) -> None:
    """In a handler, a span of its own is below the attempt that the headers name."""
    client = Client("http://test", http_client=_function(lambda _: httpx2.Response(200)), tracer=traced.tracer)
    tracer = traced.provider.get_tracer("test")
    with tracer.start_as_current_span("attempt") as attempt:
        context_of_it = attempt.get_span_context()
        named = f"00-{context_of_it.trace_id:032x}-{context_of_it.span_id:016x}-01"
        with tracer.start_as_current_span("tokenize") as own:
            client.with_options(headers={"traceparent": named}).call("classify")
    [whole] = [span for span in traced.spans if span.name == "call"]
    assert whole.parent.span_id == own.get_span_context().span_id


def _function(respond: Any) -> httpx2.Client:
    return httpx2.Client(transport=httpx2.MockTransport(respond))


# ---- attributes


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("http://example.org", "example.org", 80),
        ("https://example.org/v1", "example.org", 443),
        ("http://[::1]:8", "::1", 8),
    ],
)
def test_the_server_is_named_with_its_port(traced: Traced, url: str, address: str, port: int) -> None:
    """The port of the scheme, if the URL has none."""
    client = Client(url, http_client=_function(lambda _: httpx2.Response(200)), tracer=traced.tracer)
    client.call("items/7?q=1#top", method="PURGE")
    [request] = [span for span in traced.spans if span.kind is SpanKind.CLIENT]
    attributes = request.attributes
    assert (attributes["server.address"], attributes["server.port"]) == (address, port)
    assert attributes["url.full"] == f"{url}/items/7"
    assert (request.name, attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert attributes["http.request.method_original"] == "PURGE"


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_duration_of_each_request_is_a_metric(driver: str, traced: Traced) -> None:
    """With few attributes, and the bounds that the conventions give."""
    with ScriptedServer([(FULL,), (answer(),)]) as server:
        one(driver, server.url, call("users/7"), tracer=traced.tracer, retries=QUICK)
    shared = {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
    }
    points = traced.durations()["http.client.request.duration"]
    assert [attributes for attributes, _ in points] == [
        {**shared, "http.response.status_code": 503, "error.type": "503"},
        {**shared, "http.response.status_code": 200},
    ]
    assert [(point.count, tuple(point.explicit_bounds)) for _, point in points] == [(1, BOUNDS)] * 2
    assert all(0 < point.sum < 5 for _, point in points)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("how", ["key", "callable", "header", "query"])
def test_no_secret_is_in_a_span_or_a_metric(driver: str, how: str, traced: Traced) -> None:
    """A key, a header, or a query that has one."""
    settings: dict[str, Any] = {"key": SECRET} if how == "key" else {"key": lambda: SECRET} if how == "callable" else {}
    if how == "header":
        settings["headers"] = {"authorization": f"Bearer {SECRET}"}
    act = call(f"classify?key={SECRET}" if how == "query" else "classify", {"prompt": "private"})
    body = f'{{"error":{{"code":"{SECRET}","message":"{SECRET}"}}}}'.encode()
    with ScriptedServer([(answer(body, status=503),), (End.CLOSE,)]) as server:
        one(driver, server.url, act, tracer=traced.tracer, retries=QUICK, **settings)
        assert len(server.requests) == 2
    shown = "".join(span.to_json() for span in traced.spans) + repr(traced.durations())
    assert SECRET not in shown
    assert "private" not in shown


def test_a_call_that_is_not_sampled_says_so_to_the_server() -> None:
    """No span is kept, and the server need not decide anew; the durations count all the same."""
    traced = Traced(ALWAYS_OFF)
    with ScriptedServer([(answer(),)]) as server:
        one("sync", server.url, call(), tracer=traced.tracer)
        flags = int(server.requests[0].headers["traceparent"].rpartition("-")[2], 16)
    assert flags & TraceFlags.SAMPLED == 0
    assert traced.spans == ()
    [(_, point)] = traced.durations()["http.client.request.duration"]
    assert point.count == 1


@pytest.mark.parametrize("headers", [{}, {"traceparent": OTHER}])
def test_without_a_provider_a_trace_is_only_passed_on(headers: dict[str, str]) -> None:
    """A program that has not set OpenTelemetry up adds no span, and no header of its own."""
    tracer = OpenTelemetryTracer(tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
    with ScriptedServer([(answer(),)]) as server:
        one("sync", server.url, call(), tracer=tracer, headers=headers)
        assert server.requests[0].headers.get("traceparent") == headers.get("traceparent")


def test_without_a_tracer_no_header_is_sent() -> None:
    """Nor is anything of OpenTelemetry's asked, even if a span is current."""
    provider = TracerProvider()
    with ScriptedServer([(answer(),)]) as server, provider.get_tracer("test").start_as_current_span("job"):
        one("sync", server.url, call())
        assert "traceparent" not in server.requests[0].headers


# ---- a real server

APP = """
    from collections.abc import Iterator

    from penstock import App, Context
    from penstock_client import Client
    from penstock_client.opentelemetry import OpenTelemetryTracer

    app = App(__name__)

    @app.endpoint("/square", concurrency=4)
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/spell")
    def spell(word: str) -> Iterator[str]:
        yield from word

    @app.endpoint("/relay", concurrency=4)
    def relay(url: str, context: Context) -> float:
        with Client(url, tracer=OpenTelemetryTracer()) as client:
            return client.from_context(context).call("square", {"input": 3}).value
"""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def served(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    app = write_app(tmp_path_factory.mktemp("traced"), APP)
    with Served(app, environment=collector.environment) as served:
        yield served


def servers_of(collector: Collector, traced: Traced, *, spans: int) -> list[SpanSeen]:
    trace_id = f"{traced.spans[0].context.trace_id:032x}"
    return [span for span in collector.of_trace(trace_id, spans=spans) if span.kind == "server"]


@pytest.mark.e2e
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_servers_span_is_below_that_of_the_request(
    served: Served, collector: Collector, driver: str, traced: Traced
) -> None:
    """One trace from the caller's call down to the attempt in the worker; the request id is the same in both."""
    result = one(driver, served.base_url, call("square", {"input": 3}), tracer=traced.tracer)
    whole, [request] = traced.call()
    [server] = servers_of(collector, traced, spans=3)
    assert result.value == 9
    assert server.parent_id == f"{request.context.span_id:016x}"
    assert server.attributes["penstock.request_id"] == whole.attributes["penstock.request_id"]


@pytest.mark.e2e
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_servers_span_of_a_stream_is_within_that_of_the_request(
    served: Served, collector: Collector, driver: str, traced: Traced
) -> None:
    """Both end with the stream."""
    assert one(driver, served.base_url, Act("spell", {"word": "hi"}, is_stream=True), tracer=traced.tracer) == [
        "h",
        "i",
    ]
    _, [request] = traced.call()
    [server] = servers_of(collector, traced, spans=3)
    assert server.parent_id == f"{request.context.span_id:016x}"
    assert request.start_time / 1e9 <= server.began


@pytest.mark.e2e
def test_a_handlers_call_is_below_its_attempt(served: Served, collector: Collector, traced: Traced) -> None:
    """Caller, server, handler, server: one trace, with the client's spans of the worker in between."""
    with Client(served.base_url, tracer=traced.tracer) as client:
        assert client.call("relay", {"url": served.base_url}).value == 9
    _, [request] = traced.call()
    trace_id = f"{request.context.trace_id:032x}"
    spans = collector.of_trace(trace_id, spans=8)
    by_id = {span.span_id: span for span in spans}
    [inner] = [span for span in spans if span.kind == "server" and span.parent_id in by_id]
    way = [inner]
    while way[-1].parent_id in by_id:
        way.append(by_id[way[-1].parent_id])
    assert [span.name for span in way] == ["POST /square", "POST", "call", "attempt", "POST /relay"]
    assert way[-1].parent_id == f"{request.context.span_id:016x}"
