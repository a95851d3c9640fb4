"""A collector for tests: it takes spans and metrics by OTLP over HTTP, and decodes them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.serving import HOST, wait_until


@dataclass(frozen=True)
class SpanSeen:
    """A span as it has arrived. Times are in seconds since 1970."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    began: float
    ended: float
    attributes: dict[str, Any]
    status: str
    events: dict[str, float]
    links: list[tuple[str, str]]
    state: str
    resource: dict[str, Any]

    @property
    def outcome(self) -> str:
        return str(self.attributes.get("penstock.outcome", ""))


class Collector:
    """A collector on a port of its own.

    Parameters
    ----------
    answers:
        The statuses of the first answers, with their headers; further ones are 200.
    hangs:
        True to take requests and never answer them.
    """

    def __init__(self, answers: Iterable[tuple[int, dict[str, str]]] = (), *, hangs: bool = False) -> None:
        self.spans: list[SpanSeen] = []
        self.metrics: dict[str, list[Any]] = {}
        self.headers: list[dict[str, str]] = []
        self.released = threading.Event()
        answers = list(answers)
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                if hangs:
                    collector.released.wait(60)
                status, headers = answers.pop(0) if answers else (200, {})
                if status == 200:
                    collector.take(self.path, gzip.decompress(body) if self.headers["Content-Encoding"] else body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a server exports to this collector, and soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{self._server.server_address[1]}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
            "OTEL_SERVICE_NAME": "models",
        }

    def take(self, path: str, body: bytes) -> None:
        """Decode what was posted to a path."""
        if path == "/v1/traces":
            request = ExportTraceServiceRequest.FromString(body)
            for group in request.resource_spans:
                resource = _values(group.resource.attributes)
                self.spans += [_seen(span, resource) for scope in group.scope_spans for span in scope.spans]
        else:
            for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metric in (metric for scope in group.scope_metrics for metric in scope.metrics):
                    points = metric.histogram.data_points
                    self.metrics[metric.name] = [(_values(point.attributes), point) for point in points]

    def of_trace(self, trace_id: str, *, spans: int) -> list[SpanSeen]:
        """Wait for this number of spans of a trace, and return them in the order of their beginnings."""

        def found() -> list[SpanSeen]:
            return [span for span in self.spans if span.trace_id == trace_id]

        wait_until(lambda: len(found()) >= spans, f"{spans} spans; there are {[span.name for span in found()]}")
        # A wait ends when its attempt begins.
        return sorted(found(), key=lambda span: (span.began, span.ended))

    def named(self, name: str) -> list[SpanSeen]:
        """Return all spans of a name."""
        return [span for span in self.spans if span.name == name]


def _seen(span: Span, resource: dict[str, Any]) -> SpanSeen:
    return SpanSeen(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        _values(span.attributes),
        Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower(),
        {event.name: event.time_unix_nano / 1e9 for event in span.events},
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        span.trace_state,
        resource,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}
