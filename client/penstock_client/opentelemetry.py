"""Spans, headers and durations of OpenTelemetry for the client: ``Client(url, tracer=OpenTelemetryTracer())``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from penstock_client.call_tracing import outcome_of, reason_of
from penstock_client.errors import ClientError
from penstock_client.plan_messages import Event, HeadArrived

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, propagate, trace
except ImportError as error:
    raise ImportError("OpenTelemetry is not installed; run: pip install 'penstock-client[otel]'") from error

SCOPE: Final = "penstock_client"
DURATION: Final = "http.client.request.duration"
# The conventions give these bounds.
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
PORTS: Final = {"http": 80, "https": 443}

Attributes = dict[str, str | int]


class OpenTelemetryTracer:
    """Traces each call as a span, and each of its requests as a span below it, by OpenTelemetry's conventions for HTTP.

    The span of a request is sent along, so that the server's spans are its children; so is the baggage. The parent of
    a call is the current span, or the one that the headers of the call name.

    Parameters
    ----------
    tracer_provider, meter_provider:
        Receive the spans and the durations; the global ones if None.

    Raises
    ------
    ImportError
        On import of the module, if OpenTelemetry is not installed.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self._durations = meter.create_histogram(
            DURATION,
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )

    def call(self, *, method: str, url: str, endpoint: str, request_id: str, headers: Mapping[str, str]) -> TracedCall:
        """Begin the span of a call."""
        parent = _parent(headers)
        facts: Attributes = {"penstock.endpoint": endpoint, "penstock.request_id": request_id}
        span = self._tracer.start_span("call", context=parent, attributes=facts)
        inside = trace.set_span_in_context(span, parent)
        return TracedCall(span, _Requests(self._tracer, self._durations, inside, *_described(method, url)))


@dataclass(frozen=True)
class _Requests:
    """The common part of the requests of a call."""

    tracer: trace.Tracer
    durations: metrics.Histogram
    parent: contexts.Context
    name: str
    shared: Attributes  # spans and durations have them
    detail: Attributes  # only spans have them: they have too many values for a metric


class TracedCall:
    """The span of a call: from its beginning to its answer, to the end of its stream, or to its error."""

    def __init__(self, span: trace.Span, requests: _Requests) -> None:
        self._span = span
        self._requests = requests
        self._numbers = itertools.count()
        self._stream: TracedRequest | None = None
        self._reason = ""

    def request(self, *, is_stream: bool) -> TracedRequest:
        """Begin the span of a request."""
        return TracedRequest(self, self._requests, next(self._numbers), is_stream=is_stream)

    def streams(self, request: TracedRequest) -> None:
        """Note that a request is a stream that has begun. The first one is the answer, and ends with the call."""
        if self._stream is None:
            self._stream = request
        else:
            request.end("")

    def failed(self, error: ClientError) -> None:
        """Note the error of a stream."""
        self._reason = error.code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Once a stream has begun, an exception may be the program's own; the stream's is noted by failed().
        if error is not None and not (self._stream and isinstance(error, Exception)):
            self._reason = self._reason or reason_of(error)
        if self._stream is not None:
            self._stream.end(self._reason)
        self._span.set_attribute("penstock.attempts", next(self._numbers))
        _end(self._span, self._reason)


class TracedRequest:
    """The span and the duration of a request."""

    def __init__(self, call: TracedCall, requests: _Requests, number: int, *, is_stream: bool) -> None:
        self._call = call
        self._requests = requests
        self._is_stream = is_stream
        self._event: Event | None = None
        again: Attributes = {"http.request.resend_count": number} if number else {}
        facts = {**requests.shared, **requests.detail, **again}
        self._began = time.perf_counter()
        self._span = requests.tracer.start_span(
            requests.name, context=requests.parent, kind=trace.SpanKind.CLIENT, attributes=facts
        )
        self._inside = trace.set_span_in_context(self._span, requests.parent)
        self.headers: dict[str, str] = {}
        propagate.inject(self.headers, self._inside)

    def met(self, event: Event) -> None:
        """Note what the request met."""
        self._event = event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        event = self._event
        if error is not None:
            self.end(reason_of(error))
        elif self._is_stream and isinstance(event, HeadArrived) and event.status < 300:
            self._call.streams(self)
        else:
            self.end("")

    def end(self, reason: str) -> None:
        """End the span, and count the duration."""
        status, fault = (None, "") if self._event is None else outcome_of(self._event)
        facts = dict(self._requests.shared)
        if status is not None:
            facts["http.response.status_code"] = status
            self._span.set_attribute("http.response.status_code", status)
        reason = reason or fault
        if reason:
            facts["error.type"] = reason
        self._requests.durations.record(time.perf_counter() - self._began, facts, self._inside)
        _end(self._span, reason)


def _end(span: trace.Span, reason: str) -> None:
    if reason:  # the text of an exception stays out: it may quote what a server or a proxy has sent
        span.set_attribute("error.type", reason)
        span.set_status(trace.StatusCode.ERROR)
    span.end()


def _parent(headers: Mapping[str, str]) -> contexts.Context:
    """Return the current context; of another trace than the headers of the call, what they say."""
    current = contexts.get_current()
    if "traceparent" not in headers:
        return current
    named = propagate.extract(headers, current)
    here = trace.get_current_span(current).get_span_context()
    there = trace.get_current_span(named).get_span_context()
    return current if here.trace_id == there.trace_id else named


def _described(method: str, url: str) -> tuple[str, Attributes, Attributes]:
    """Return the name of the requests' spans, and their attributes. A query may be private, and is left out."""
    parts = urlsplit(url)
    known = method if method in METHODS else "_OTHER"
    shared: Attributes = {
        "http.request.method": known,
        "server.address": parts.hostname or "",
        "server.port": parts.port or PORTS.get(parts.scheme, 0),
    }
    detail: Attributes = {"url.full": parts._replace(query="", fragment="").geturl()}
    if known != method:
        detail["http.request.method_original"] = method
    return (method if known == method else "HTTP"), shared, detail
