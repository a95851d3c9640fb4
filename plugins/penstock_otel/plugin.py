"""The plug-in: it says to which trace a request belongs, and has what it observes exported."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from penstock.errors import PluginError
from penstock.hooks import (
    App,
    BatchTraced,
    DrainEnded,
    Endpoint,
    EndpointDescription,
    HeaderDescription,
    JobTraced,
    PluginSettings,
    Record,
    RequestAnswered,
    Submission,
    Trace,
    WorkerReady,
    before_exit,
    hookimpl,
    log_event,
)
from penstock_otel.durations import Durations
from penstock_otel.environment import INSTALL, Environment, has_packages, is_configured
from penstock_otel.export_thread import ExportThread, flush_all
from penstock_otel.span_buffer import SpanBuffer
from penstock_otel.tracer import make_tracer, sampler_of

HEALTH_CHECKS: Final = ("livez", "readyz", "metrics")
WORKER_SETUP: Final = "penstock_otel.worker_setup:set_up"


class OtelSettings(PluginSettings, frozen=True, kw_only=True):
    """The settings of the export to OpenTelemetry; its own variables say where to, and what is sampled.

    Parameters
    ----------
    enabled:
        By default, whether ``OTEL_*`` variables configure an exporter and its packages are installed.
    exclude:
        The names of endpoints and routes whose requests are not counted in metrics.
    exit_timeout:
        The most seconds that the end of the server waits for the export of what is left.
    """

    enabled: bool = msgspec.field(default_factory=is_configured)
    exclude: tuple[str, ...] = HEALTH_CHECKS
    exit_timeout: float = 2.0

    def __post_init__(self) -> None:
        """Reject a time with which the end of the server would be endless, or nothing would be exported."""
        if not 0 <= self.exit_timeout <= 60:
            raise ValueError(f"exit_timeout={self.exit_timeout} must be from 0 to 60 seconds")


class OtelPlugin:
    """The plug-in that traces requests, and exports spans and durations by OTLP over HTTP.

    Parameters
    ----------
    settings:
        The settings of the export.
    environment:
        The ``OTEL_*`` variables. Default: those of the process.
    """

    name = "otel"
    Settings = OtelSettings

    def __init__(self, settings: OtelSettings, *, environment: Environment | None = None) -> None:
        self._settings = settings
        self._environment = environment or Environment.of_process()
        self._threads: list[ExportThread] = []
        self._has_started = self._has_given_up = False
        self._tracer: Callable[[Submission], Trace] | None = None

    def check(self, _app: App) -> None:
        """Check that what is switched on can work.

        Raises
        ------
        PluginError
            If OpenTelemetry's packages are missing, or its variables ask for another protocol.
        """
        environment = self._environment
        if environment.is_disabled:
            return
        if not has_packages():
            raise PluginError(
                f"plug-in 'otel': OpenTelemetry is not installed; run: {INSTALL}, "
                "or switch the plug-in off with PENSTOCK_OTEL_ENABLED=false"
            )
        if environment.other_protocol:
            raise PluginError(
                f"plug-in 'otel': OTEL_EXPORTER_OTLP_PROTOCOL={environment.other_protocol} is not supported; set it to "
                "http/protobuf, and the endpoint to the collector's port for HTTP (4318)"
            )

    @hookimpl
    def penstock_tracer(self, endpoint: Endpoint) -> Callable[[Submission], Trace] | None:  # noqa: ARG002 - the same for all
        """Read the trace of each request, and decide whether it is sampled."""
        environment = self._environment
        if environment.is_disabled:
            return None
        if self._tracer is None:
            self._tracer = make_tracer(environment, exports=environment.exports("traces"))
        return self._tracer

    @hookimpl
    def penstock_description(self) -> EndpointDescription | None:
        """Describe the headers that name the trace of a request."""
        if self._environment.is_disabled:
            return None
        trace = HeaderDescription("The trace that the request belongs to, as in W3C Trace Context.")
        state = HeaderDescription("The entries of tracing systems, passed on unchanged.")
        return EndpointDescription(request_headers={"traceparent": trace, "tracestate": state})

    @hookimpl
    def penstock_observer(self, app: App) -> dict[type[Record], Callable[[Any], None]] | None:
        """Take what is sampled, and count all requests; nothing starts before the first worker is ready."""
        environment = self._environment
        observers: dict[type[Record], Callable[[Any], None]] = {}
        on_request: list[Callable[[RequestAnswered], None]] = []
        if environment.exports("traces"):
            buffer = SpanBuffer(environment, app.import_name)
            self._threads.append(buffer.thread)
            observers |= {JobTraced: buffer.put, BatchTraced: buffer.put}
            on_request.append(_sampled(buffer))
        if environment.exports("metrics"):
            durations = Durations(self._settings.exclude)
            self._threads.append(self._metrics_thread(durations, app.import_name))
            on_request.append(durations.put)
        if not on_request:
            return None
        return {
            **observers,
            RequestAnswered: _all_of(on_request),
            WorkerReady: self._start,
            DrainEnded: self._finish,
        }

    @hookimpl
    def penstock_worker_setup(self) -> str | None:
        """Have OpenTelemetry set up in each worker, if the app uses it and has not done that itself."""
        return WORKER_SETUP if self._environment.exports("traces") else None

    def _metrics_thread(self, durations: Durations, service: str) -> ExportThread:
        def prepare() -> Callable[[], None]:
            # These take a tenth of a second to import.
            from penstock_otel.metric_points import export_of  # noqa: PLC0415 - see above
            from penstock_otel.resources import resource_of  # noqa: PLC0415 - see above

            return export_of(durations, resource_of(service))

        interval = self._environment.positive("OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1000
        return ExportThread("metrics", prepare, interval=interval)

    def _start(self, _record: WorkerReady) -> None:
        """Start the threads: a worker is ready, so this is the process of the engine, after all forks."""
        if self._has_started:
            return
        self._has_started = True
        problem = sampler_of(self._environment).problem
        if problem:
            log_event(logging.WARNING, "otel-sampler", problem)
        for thread in self._threads:
            thread.start()
        before_exit(self._flush)

    def _flush(self) -> None:
        """Export what is left; once a collector has not taken it in time, do not wait for it again."""
        if not self._has_given_up:
            self._has_given_up = not flush_all(self._threads, self._settings.exit_timeout)

    def _finish(self, _record: DrainEnded) -> None:
        """End the threads: an engine that has ended leaves none."""
        for thread in self._threads:
            thread.finish()


def _sampled(buffer: SpanBuffer) -> Callable[[RequestAnswered], None]:
    put = buffer.put

    def put_sampled(record: RequestAnswered) -> None:
        if record.trace is not None and record.trace.is_sampled:
            put(record)

    return put_sampled


def _all_of(observers: list[Callable[[RequestAnswered], None]]) -> Callable[[RequestAnswered], None]:
    if len(observers) == 1:
        return observers[0]
    first, second = observers

    def both(record: RequestAnswered) -> None:
        first(record)
        second(record)

    return both
