"""The tracer's decisions, the settings, and the thread that exports."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
import pytest
from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from penstock import App, Context
from penstock.errors import PluginError
from penstock.hooks import JobTraced, RequestAnswered, Submission, Trace
from penstock.hooks.registry import Registry
from penstock.hooks.settings import Sources
from penstock.testing import PluginHarness
from penstock_otel import OtelPlugin, environment, export_thread
from penstock_otel.durations import MOST_KEYS, MOST_RECENT, Durations, request_attributes
from penstock_otel.environment import Environment, is_configured
from penstock_otel.export_thread import CollectorHealth, ExportThread, flush_all
from penstock_otel.span_buffer import SpanBuffer
from penstock_otel.trace_headers import parse_traceparent
from penstock_otel.tracer import Sampler, make_tracer
from tests.serving import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def app() -> App:
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    return app


def submission(headers: dict[str, str]) -> Submission:
    return Submission(app().endpoints[0], request_id="r1", header=headers.get)


def trace_of(headers: dict[str, str], *, exports: bool = True, **variables: str) -> Trace:
    return make_tracer(Environment(variables), exports=exports)(submission(headers))


def record(**more: Any) -> RequestAnswered:
    usual = {"endpoint": "square", "request_id": "r", "method": "POST", "path": "/square", "status": 200, "code": "ok"}
    return RequestAnswered(
        **(usual | {"seconds": 0.01, "route": "/square", "trace": Trace(TRACE, SPAN, True, 1)} | more)
    )


# ---- the headers


@pytest.mark.parametrize(
    ("value", "is_valid"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", True),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"cc-{TRACE}-{SPAN}-01.more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}-0A", False),
        (f"00-{TRACE[1:]}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}0-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        (f"0-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}-1", False),
        (f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}-01\n", False),
        (f" 00-{TRACE}-{SPAN}-01", False),
        (f"00-{chr(0x660) * 31}1-{SPAN}-01", False),
        ("", False),
    ],
)
def test_a_traceparent_is_read_strictly(value: str, *, is_valid: bool) -> None:
    """As W3C's Trace Context says; a later version is read as far as it is known."""
    caller = parse_traceparent(value)
    assert (caller is not None) is is_valid
    if caller is not None:
        assert (caller.trace_id, caller.span_id) == (TRACE, SPAN)
        assert caller.flags <= 3
        read = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": value}, OtelContext()))
        assert read.get_span_context().trace_id == int(TRACE, 16)


def test_what_cannot_be_read_begins_a_new_trace() -> None:
    """Its state is not passed on either; baggage belongs to no trace, and is."""
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-1", "tracestate": "a=1", "baggage": "b=2"}
    trace = trace_of(headers)
    assert trace.trace_id != TRACE
    assert (trace.parent_id, trace.state, trace.baggage) == ("", "", "b=2")
    assert trace.is_sampled


@pytest.mark.parametrize("value", ["x=" + "y" * 511, "x=\x80", "x=\n"])
def test_a_state_that_no_header_may_have_is_dropped(value: str) -> None:
    """The trace goes on without it."""
    trace = trace_of({"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": value})
    assert (trace.trace_id, trace.state) == (TRACE, "")


def test_headers_for_another_service() -> None:
    """The context of a handler has them only if its request is traced."""
    trace = Trace(TRACE, SPAN, True, 1, "a=1", "b=2")
    headers = Context(trace=trace).headers_for_downstream()
    assert headers == {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=1", "baggage": "b=2"}
    assert Context(trace=Trace("", "")).headers_for_downstream() == {}
    assert Context().headers_for_downstream() == {}


# ---- what is sampled


@pytest.mark.parametrize(
    ("name", "argument", "sampled", "unsampled", "none"),
    [
        ("", "", True, False, True),
        ("parentbased_always_on", "", True, False, True),
        ("parentbased_always_off", "", True, False, False),
        ("always_on", "", True, True, True),
        ("always_off", "", False, False, False),
        ("parentbased_traceidratio", "0", True, False, False),
        ("traceidratio", "0", False, False, False),
        ("traceidratio", "1", True, True, True),
        ("jaeger_remote", "", True, False, True),
        ("parentbased_traceidratio", "lots", True, False, True),
    ],
)
def test_the_standard_samplers(name: str, argument: str, *, sampled: bool, unsampled: bool, none: bool) -> None:
    """By the caller's flag, and without a caller. The flag that is passed on is that of the decision."""
    variables = {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument}
    for headers, expected in (
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, sampled),
        ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, unsampled),
        ({}, none),
    ):
        trace = trace_of(headers, **variables)
        assert trace.is_sampled is expected
        assert trace.flags & 1 == expected
        assert trace.span_id != SPAN or not expected
        assert trace.parent_id == (SPAN if headers and expected else "")


def test_a_share_of_the_traces_is_that_of_the_sdk() -> None:
    """So all services with one share sample the same traces."""
    theirs = ParentBased(TraceIdRatioBased(0.3))
    ours = Sampler("parentbased_traceidratio", "0.3")
    draw = random.Random(1)
    ids = [draw.getrandbits(128) for _ in range(500)]
    assert [trace_id & (2**64 - 1) < ours.bound for trace_id in ids] == [
        theirs.should_sample(OtelContext(), trace_id, "name").decision.is_sampled() for trace_id in ids
    ]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_ids_differ_in_forks_and_whatever_the_program_seeds() -> None:
    """Two HTTP processes of one server must not make the same ids."""
    random.seed(1)
    first = trace_of({}).trace_id
    random.seed(1)
    assert trace_of({}).trace_id != first
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, trace_of({}).trace_id.encode())
        os._exit(0)
    ours = trace_of({}).trace_id
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() != ours


def test_without_an_exporter_the_trace_is_passed_on_as_it_is() -> None:
    """Another service of the caller's trace may still record it."""
    trace = trace_of({"traceparent": f"00-{TRACE}-{SPAN}-01"}, exports=False)
    assert trace == Trace(TRACE, SPAN, False, 1)


def test_propagators_can_be_switched_off() -> None:
    """``OTEL_PROPAGATORS`` names those in use."""
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "baggage": "a=1"}
    assert trace_of(headers, OTEL_PROPAGATORS="baggage").trace_id != TRACE
    assert trace_of(headers, OTEL_PROPAGATORS="tracecontext").baggage == ""


# ---- on or off


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_SERVICE_NAME": "models"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_it_is_on_if_an_exporter_is_configured(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, expected: bool
) -> None:
    """By OpenTelemetry's own variables; and only if its packages are there."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_configured() is expected
    assert OtelPlugin.Settings().enabled is expected
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    assert is_configured() is False


def registry(variables: dict[str, str], **settings: Any) -> Registry:
    class Configured(OtelPlugin):
        def __init__(self, settings: Any) -> None:
            super().__init__(settings, environment=Environment(variables))

    sources = Sources({"otel": {"enabled": True, **settings}}, {})
    return Registry([Configured], sources=sources, app=app())


def test_an_operator_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages, with the command that installs them; or another protocol."""
    with pytest.raises(PluginError, match="OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported; set it to http/protobuf"):
        registry({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    with pytest.raises(PluginError, match=r"exit_timeout=-1\.0 must be from 0 to 60 seconds"):
        registry({}, exit_timeout=-1.0)
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    with pytest.raises(PluginError, match=r"OpenTelemetry is not installed; run: pip install 'penstock\[otel\]'"):
        registry({})
    assert registry({"OTEL_SDK_DISABLED": "true"}).traces_requests is False


def test_what_is_not_exported_is_not_observed() -> None:
    """Neither costs then what it would."""
    for variables, observes_jobs, observes_requests in (
        ({}, True, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False, True),
        ({"OTEL_METRICS_EXPORTER": "none"}, True, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, False, False),
        ({"OTEL_SDK_DISABLED": "true"}, False, False),
    ):
        found = registry(variables)
        found.observe(app())
        assert (found.observer_of(JobTraced) is not None) is observes_jobs
        assert (found.observer_of(RequestAnswered) is not None) is observes_requests
        assert found.traces_requests is ("OTEL_SDK_DISABLED" not in variables)


# ---- the cost


def instructions_of(action: Callable[[], object]) -> int:
    """Return the number of bytecode instructions that an action executes."""
    count = 0

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    ("sampler", "headers"),
    [("always_off", {}), ("parentbased_always_on", {"traceparent": f"00-{TRACE}-{SPAN}-00"})],
)
def test_a_request_that_is_not_sampled_costs_next_to_nothing(sampler: str, headers: dict[str, str]) -> None:
    """Some 300 instructions in the HTTP process, the engine included: less than 5 microseconds, and a tenth of all."""

    class Configured(OtelPlugin):
        def __init__(self, settings: Any) -> None:
            variables = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_METRICS_EXPORTER": "none"}
            super().__init__(settings, environment=Environment(variables))

        def _start(self, _record: object) -> None: ...

    def cost(plugins: list[Any]) -> int:
        harness = PluginHarness(app(), plugins, settings={"otel": {"enabled": True}} if plugins else {})

        def one() -> None:
            harness.request(headers=headers)

        def answered() -> None:
            harness._observers.job_answered(job)

        one()
        harness.advance(1)
        total = instructions_of(one)
        job = harness.answered[-1]
        return total + instructions_of(answered)

    assert cost([Configured]) - cost([]) < 300


# ---- exporting


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """Return a function that returns the records so far."""
    caplog.set_level(logging.DEBUG, "penstock")
    return lambda: caplog.records


def test_the_thread_survives_what_it_calls(logged: Callable[[], list[logging.LogRecord]]) -> None:
    """A failure is logged, and the next call comes all the same."""
    calls: list[int] = []

    def export() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise RuntimeError("no luck")

    thread = ExportThread("tests", lambda: export, interval=60)
    thread.start()
    thread.start()
    for _ in range(2):
        assert flush_all([thread], 10)
    assert calls == [0, 1]
    assert [record.getMessage() for record in logged()] == ["tests lost: RuntimeError: no luck"]


def test_a_thread_that_cannot_begin_keeps_no_process_from_ending(logged: Callable[[], list[logging.LogRecord]]) -> None:
    """Nothing is exported then, and the log has the reason."""

    def prepare() -> Callable[[], object]:
        raise ImportError("no such package")

    thread = ExportThread("tests", prepare, interval=60)
    thread.start()
    wait_until(logged, "the reason")
    assert "tests cannot be exported: ImportError: no such package" in logged()[0].getMessage()
    began = time.monotonic()
    assert flush_all([thread], 10)
    assert time.monotonic() - began < 5


def test_a_thread_that_is_to_finish_exports_what_comes_within_a_moment() -> None:
    """And then ends, so that an engine that has ended leaves no thread."""
    calls: list[float] = []
    before = set(threading.enumerate())
    thread = ExportThread("tests", lambda: lambda: calls.append(time.monotonic()), interval=60)
    thread.start()
    [running] = set(threading.enumerate()) - before
    thread.finish()
    wait_until(lambda: calls, "the export")
    assert flush_all([thread], 10)
    assert len(calls) == 2
    running.join(10)
    assert not running.is_alive()
    assert flush_all([thread], 10)


@pytest.mark.timed
def test_flushing_several_threads_takes_no_longer_than_one() -> None:
    """The seconds are those of all together; one that hangs is left behind."""
    released = threading.Event()
    hanging = [ExportThread("tests", lambda: released.wait, interval=0.001) for _ in range(3)]
    for thread in hanging:
        thread.start()
    began = time.monotonic()
    assert not flush_all(hanging, 0.1)
    assert time.monotonic() - began < 0.3
    released.set()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_no_thread() -> None:
    """It has none."""
    thread = ExportThread("tests", lambda: lambda: None, interval=60)
    thread.start()
    child = os.fork()
    if not child:
        os._exit(0 if flush_all([thread], 30) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_buffer_is_bounded() -> None:
    """A collector that takes nothing costs no more memory than the variable says."""
    buffer = SpanBuffer(Environment({"OTEL_BSP_MAX_QUEUE_SIZE": "10"}), "tests")
    for _ in range(25):
        buffer.put(record())
    assert (len(buffer._records), buffer._dropped, buffer._batch) == (10, 15, 10)


def test_the_state_of_a_collector_is_logged_when_it_changes(logged: Callable[[], list[logging.LogRecord]]) -> None:
    """With the reason that the exporter has logged, which is shown nowhere else."""
    health = CollectorHealth("traces", "tests.exporter")
    logger = logging.getLogger("tests.exporter")
    for _ in range(3):
        logger.warning("Transient error %s", "refused")
        logger.error("Failed to export due to timeout, max retries or shutdown.")
        health.note(is_exported=False, count=2)
    for _ in range(2):
        health.note(is_exported=True, count=2)
    assert [(record.levelname, record.getMessage().partition("  [")[0]) for record in logged()] == [
        ("WARNING", "traces do not reach their collector, and are lost meanwhile: Transient error refused"),
        ("INFO", "traces reach their collector again"),
    ]
    assert "lost=6" in logged()[1].getMessage()


# ---- durations


def test_durations_are_counted_many_at_a_time() -> None:
    """By what distinguishes requests; some are left out, and clients cannot make more and more kinds of them."""
    durations = Durations(("livez",))
    for number in range(MOST_RECENT - 2):
        durations.put(record(seconds=0.004 if number % 2 else 20.0, queue_seconds=0.1, execution_seconds=None))
    durations.put(record(method="BREW", status=503, code="queue-full"))
    assert durations.requests == {}
    durations.put(record(endpoint="livez"))
    [usual, odd] = durations.requests
    counts = durations.requests[usual]
    assert sum(counts.counts) == MOST_RECENT - 2
    assert (counts.least, counts.greatest) == (0.004, 20.0)
    assert counts.total == pytest.approx(sum([0.004, 20.0]) * (MOST_RECENT - 2) / 2)
    assert (odd.method, sum(durations.queue["square"].counts), durations.execution) == ("_OTHER", MOST_RECENT - 2, {})
    for number in range(2 * MOST_KEYS):
        durations.put(record(status=number))
    durations.catch_up()
    assert len(durations.requests) == MOST_KEYS + 1


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {"http.response.status_code": 200, "http.route": "/square"}),
        ({"status": 404, "code": "not-found", "endpoint": "", "route": ""}, {"http.response.status_code": 404}),
        ({"status": 500}, {"http.response.status_code": 500, "http.route": "/square", "error.type": "500"}),
        ({"status": 499, "code": "cancelled"}, {"http.route": "/square"}),
    ],
)
def test_the_attributes_of_a_duration(more: dict[str, Any], expected: dict[str, Any]) -> None:
    """A response that was never sent has no status; an error of the handler's own has its status as its type."""
    durations = Durations(())
    durations.put(record(**more))
    durations.catch_up()
    [key] = durations.requests
    code = more.get("code")
    error = {} if code is None else {"error.type": code}
    assert request_attributes(key) == {"http.request.method": "POST", **expected, **error}


def test_a_trace_is_what_opentelemetry_makes_of_it() -> None:
    """Derived ids are valid, and differ."""
    trace = Trace(TRACE, SPAN, True, 1)
    ids = {trace.span_id, *(trace.attempt_id(number) for number in range(-20, 21) if number)}
    assert len(ids) == 41
    for place in (trace.of_attempt(1), trace.of_batch(7)):
        assert SpanContext(int(place.trace_id, 16), int(place.span_id, 16), is_remote=True).is_valid
    assert len({trace.of_batch(number).trace_id for number in range(1, 100)}) == 99
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(trace), type=Trace) == trace
    assert export_thread.flush_all([], 1)
