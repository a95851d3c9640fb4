"""The exposition of the counts as text for Prometheus. All work here is done on scrape."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final, Protocol, TypeAlias

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from penstock.hooks import App, RouteRequest, RouteResponse
from penstock_metrics.counts import OTHER, Counts, Histogram
from penstock_metrics.utilization import utilization_by_pool

STORED_STATES: Final = ("queued", "running")
WORKER_STATES: Final = ("starting", "ready", "busy", "draining", "stopped", "restarting")
LONGEST_ACCEPT: Final = 1000
_VERSIONS: Final = re.compile(r"version\s*=([^;,]*)", re.IGNORECASE)
_IS_VERSION: Final = re.compile(r"\s*[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\s*")

Labels: TypeAlias = Sequence[str]
Numbers: TypeAlias = Iterable[tuple[Labels, float]]
Histograms: TypeAlias = Iterable[tuple[Labels, Histogram]]


class HasStatus(Protocol):
    """The part of an engine that is used here."""

    def status(self) -> dict[str, Any]:
        """Return the engine's status; see ``Engine.status``."""
        ...


class Exposition:
    """The handler of the metrics route.

    Parameters
    ----------
    counts:
        The counts to expose.
    app:
        The app that is served.
    with_process:
        True to add the metrics of the operating system and the interpreter about this process.
    extra_gauges:
        The source of each additional gauge, by the gauge's name; see ``MetricsSettings``.
    """

    def __init__(
        self, counts: Counts, app: App, *, with_process: bool, extra_gauges: Mapping[str, str] | None = None
    ) -> None:
        self._collector = CountsCollector(counts, app, extra_gauges or {})
        # A separate registry: two engines in a process must not expose each other's numbers.
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        if with_process:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
            GCCollector(registry=self._registry)

    def answer(self, request: RouteRequest, engine: HasStatus) -> RouteResponse:
        """Return all metrics, in the format that the ``Accept`` header asks for."""
        self._collector.status = engine.status()
        encode, media_type = _encoder_for(request.header("accept"))
        return RouteResponse(body=encode(self._registry), media_type=media_type)


def _encoder_for(accept: str | None) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    accept = accept or ""
    # choose_encoder() raises for some versions that are not numbers, and repeats others in the response's media type.
    is_sane = len(accept) <= LONGEST_ACCEPT and all(map(_IS_VERSION.fullmatch, _VERSIONS.findall(accept)))
    return choose_encoder(accept) if is_sane else (generate_latest, CONTENT_TYPE_PLAIN_0_0_4)


@dataclass
class CountsCollector(Collector):
    """A collector of the metrics of one engine.

    Attributes
    ----------
    status:
        The current ``Engine.status()``, from which the gauges are read.
    """

    counts: Counts
    app: App
    extra_gauges: Mapping[str, str] = field(default_factory=dict)
    status: dict[str, Any] | None = None
    build: dict[str, str] = field(
        default_factory=lambda: {"version": version("penstock"), "python": platform.python_version()}
    )

    __hash__ = object.__hash__  # the registry keeps collectors in a dict

    def describe(self) -> Iterable[Metric]:
        """Return nothing: no other collector uses these names, so the registry need not check for duplicates."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        self.counts.catch_up()
        yield from self._responses()
        yield from self._jobs()
        yield from self._attempts()
        yield from self._workers()
        if self.status is not None:
            yield from self._now(self.status)
        yield _counter(
            "penstock_hook_failures",
            "Hooks that raised: a decision failed its request with hook-error, an observer failed no request",
            ("plugin", "hook"),
            list(self.counts.hook_failures.items()),
        )
        yield InfoMetricFamily("penstock_build", "The versions of Penstock and Python", value=self.build)

    def _responses(self) -> Iterator[Metric]:
        responses = list(self.counts.responses.items())
        yield _counter(
            "penstock_http_responses",
            "Responses by status; 499 for clients that hung up",
            ("endpoint", "status"),
            (((name, str(key)), n) for name, counts in responses for key, n in list(counts.statuses.items())),
        )
        yield _histogram(
            "penstock_http_response_seconds",
            "Time from the start of a request to the last byte of its response",
            ("endpoint",),
            (((name,), counts.seconds) for name, counts in responses),
        )

    def _jobs(self) -> Iterator[Metric]:
        jobs = list(self.counts.jobs.items())
        yield _counter(
            "penstock_jobs",
            "Jobs by outcome: ok, or the code of the error; refused jobs included",
            ("endpoint", "code"),
            (((name, code), n) for name, counts in jobs for code, n in list(counts.outcomes.items())),
        )
        yield _histogram(
            "penstock_job_queue_seconds",
            "Time that admitted jobs waited for their latest attempt, or until they were abandoned",
            ("endpoint",),
            (((name,), counts.queue) for name, counts in jobs),
        )
        yield _histogram(
            "penstock_job_execution_seconds",
            "Time that the latest attempt of a job spent in your code",
            ("endpoint",),
            (((name,), counts.execution) for name, counts in jobs),
        )
        yield _histogram(
            "penstock_job_first_chunk_seconds",
            "Streams: time from the start of the attempt to its first chunk",
            ("endpoint",),
            (((name,), counts.first_chunk) for name, counts in jobs if counts.first_chunk is not None),
        )

    def _attempts(self) -> Iterator[Metric]:
        jobs = list(self.counts.jobs.items())
        yield _histogram(
            "penstock_batch_jobs",
            "Jobs sent to a worker together, for endpoints with batching",
            ("endpoint",),
            (((name,), counts.batches) for name, counts in jobs if counts.batches is not None),
        )
        yield _counter(
            "penstock_execution_seconds",
            "Time in your code, by whether a caller still waited for the result; the share of yes is the goodput",
            ("endpoint", "useful"),
            (
                ((name, useful), seconds)
                for name, counts in jobs
                for useful, seconds in (("yes", counts.useful_seconds), ("no", counts.wasted_seconds))
            ),
        )
        yield _counter(
            "penstock_retries",
            "Jobs that failed and are retried, by the code of the error",
            ("endpoint", "code"),
            (((name, code), n) for name, counts in jobs for code, n in list(counts.retries.items())),
        )
        yield _counter(
            "penstock_interrupts",
            "Attempts that were asked to stop, by reason: a timeout, a caller that left (cancel), or a drain",
            ("endpoint", "why"),
            (((name, why), n) for name, counts in jobs for why, n in list(counts.interrupts.items())),
        )

    def _workers(self) -> Iterator[Metric]:
        pools = list(self.counts.pools.items())
        yield _histogram(
            "penstock_worker_setup_seconds",
            "Time from the start of a worker until its models were set up",
            ("pool",),
            (((name,), counts.setup) for name, counts in pools),
        )
        yield _counter(
            "penstock_worker_losses",
            "Workers that ended unexpectedly: crashes, out of memory, kill -9",
            ("pool",),
            (((name,), counts.losses) for name, counts in pools),
        )
        yield _counter(
            "penstock_worker_kills",
            "Workers that were killed because their code did not stop",
            ("pool",),
            (((name,), counts.kills) for name, counts in pools),
        )
        yield _counter(
            "penstock_worker_restarts",
            "Workers that were replaced, for any reason",
            ("pool",),
            (((name,), counts.restarts) for name, counts in pools),
        )
        yield _counter(
            "penstock_worker_recycles",
            "Workers that were replaced although they had not failed, by the reason",
            ("pool", "reason"),
            (((name, reason), times) for name, counts in pools for reason, times in counts.recycles.items()),
        )

    def _now(self, status: dict[str, Any]) -> Iterator[Metric]:
        endpoints, label = status["endpoints"].items(), ("endpoint",)
        queued = [((name,), lane["queued"]) for name, lane in endpoints]
        queued_bytes = [((name,), lane["queued_bytes"]) for name, lane in endpoints]
        running = [((name,), lane["running"]) for name, lane in endpoints]
        limits = [((endpoint.name,), endpoint.max_queue) for endpoint in self.app.endpoints]
        yield _gauge("penstock_queued_jobs", "Jobs in the queue", label, queued)
        yield _gauge("penstock_queued_bytes", "Bytes of request bodies in the queue", label, queued_bytes)
        yield _gauge("penstock_queue_limit_jobs", "The maximum number of jobs in the queue", label, limits)
        yield _gauge("penstock_running_jobs", "Jobs in flight: sent to a worker", label, running)
        yield _gauge("penstock_workers", "Workers by state", ("pool", "state"), _worker_states(status["pools"]))
        yield _gauge("penstock_ready", "1 if /readyz returns 200, else 0", (), [((), status["ready"])])
        yield _gauge("penstock_draining", "1 if the server is shutting down, else 0", (), [((), status["draining"])])
        yield from _stored_jobs(status.get("services", {}).get("jobs", {}))
        utilization = utilization_by_pool(self.app, status)
        yield _gauge(
            "penstock_utilization",
            "Jobs that wait or run, in relation to the number that can run at a time",
            ("pool",),
            (((name,), value) for name, value in utilization.items()),
        )
        whole = {
            "queued_jobs": sum(lane["queued"] for _, lane in endpoints),
            "running_jobs": sum(lane["running"] for _, lane in endpoints),
            "utilization": max(utilization.values(), default=0.0),
        }
        for name, source in self.extra_gauges.items():
            yield _gauge(name, f"The server's {source.replace('_', ' ')}", (), [((), whole[source])])


def _worker_states(pools: dict[str, Any]) -> Iterator[tuple[Labels, float]]:
    for name, pool in pools.items():
        known = [worker["state"] if worker["state"] in WORKER_STATES else OTHER for worker in pool["workers"]]
        count = Counter(known)
        # All states, so that the series of a state without workers falls to 0 instead of keeping its last value.
        yield from (((name, state), count[state]) for state in (*WORKER_STATES, OTHER))


def _stored_jobs(jobs: dict[str, Any]) -> Iterator[Metric]:
    """Yield what the plug-in ``jobs`` has on the status page; nothing without it."""
    if not jobs.get("store"):
        return
    names = sorted(jobs["jobs"])
    states = [((name, state), jobs["jobs"][name].get(state, 0)) for name in names for state in STORED_STATES]
    ages = [((name,), jobs["oldest_seconds"].get(name, 0.0)) for name in names]
    here, stale = [((), jobs["running_here"])], [((), jobs["stale_writes"])]
    yield _gauge("penstock_stored_jobs", "Background jobs in the store, by state", ("endpoint", "state"), states)
    yield _gauge("penstock_stored_job_age_seconds", "The age of the next queued background job", ("endpoint",), ages)
    yield _gauge("penstock_stored_jobs_here", "Background jobs that this server holds", (), here)
    yield _counter("penstock_stored_job_claims_lost", "Results refused because another engine has the job", (), stale)


def _counter(name: str, text: str, labels: Labels, numbers: Numbers) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in numbers:
        family.add_metric(values, number)
    return family


def _gauge(name: str, text: str, labels: Labels, numbers: Numbers) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in numbers:
        family.add_metric(values, number)
    return family


def _histogram(name: str, text: str, labels: Labels, histograms: Histograms) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in histograms:
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        so_far = 0
        for place, (bound, count) in enumerate(zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True)):
            so_far += count
            example = histogram.examples.get(place)
            # The encoder for Prometheus' own format, which has no exemplars, leaves them out. One is shown only beside
            # numbers that are counted: those of jobs are reported later, many at a time.
            if example is None or not count:
                buckets.append((str(bound), so_far))
            else:
                ids = {"trace_id": example.trace_id, "span_id": example.span_id}
                buckets.append((str(bound), so_far, Exemplar(ids, example.value)))
        family.add_metric(values, buckets, histogram.total)
    return family
