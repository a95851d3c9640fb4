"""Load reports in response headers, by which load balancers choose among servers: ORCA, Open Request Cost Aggregation.

The format is that of ``xds.data.orca.v3.OrcaLoadReport``, as Envoy and gRPC read it. The load is that of the last
seconds, not of the instant: a balancer computes a weight as the rate of requests divided by the utilization, for which
both must be averages of the same time.
"""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from penstock.hooks import App, Endpoint, HeaderNames, JobAnswered, Release, Submission
from penstock_metrics.counts import failure_codes
from penstock_metrics.utilization import share_of_worker

ReportFormat: TypeAlias = Literal["text", "json", "binary"]

HEADER: Final = "endpoint-load-metrics"
BINARY_HEADER: Final = "endpoint-load-metrics-bin"
REQUEST_HEADER: Final = "endpoint-load-metrics-format"
_REQUESTED: Final = HeaderNames([REQUEST_HEADER])
REPORT_FORMATS: Final[dict[str, ReportFormat]] = {"text": "text", "json": "json", "bin": "binary", "binary": "binary"}
WINDOW_SECONDS: Final = 5.0
# Responses of this time share one report, because making one costs more than all else here.
REPORT_SECONDS: Final = 0.05
# In protocol buffers: the number of a field, shifted by three bits, and the type: of a double, or of a nested message.
_RPS, _EPS, _NAMED, _APPLICATION = (6 << 3) | 1, (7 << 3) | 1, (8 << 3) | 2, (9 << 3) | 1


@dataclass(frozen=True)
class LoadReport:
    """The load of the last seconds.

    Parameters
    ----------
    utilization:
        That of the pool with the highest, waiting jobs included: above 1, jobs wait.
    requests_per_second, errors_per_second:
        The rate of requests that have ended, and of those with a status of 500 or above.
    jobs:
        The jobs that wait or run now.
    """

    utilization: float
    requests_per_second: float
    errors_per_second: float
    jobs: int

    def header(self, form: ReportFormat) -> tuple[str, str]:
        """Return the response header in one of the formats."""
        if form == "binary":
            return BINARY_HEADER, base64.b64encode(self._message()).decode()
        if form == "json":
            named = {"jobs": float(self.jobs)}
            return HEADER, "JSON " + json.dumps({**self._fields(), "named_metrics": named})
        pairs = [*self._fields().items(), ("named_metrics.jobs", float(self.jobs))]
        return HEADER, "TEXT " + ", ".join(f"{name}={value}" for name, value in pairs)

    def _fields(self) -> dict[str, float]:
        return {
            "application_utilization": round(self.utilization, 4),
            "rps_fractional": round(self.requests_per_second, 4),
            "eps": round(self.errors_per_second, 4),
        }

    def _message(self) -> bytes:
        jobs = b"\x0a\x04jobs\x11" + struct.pack("<d", self.jobs)
        doubles = (_RPS, self.requests_per_second), (_EPS, self.errors_per_second), (_APPLICATION, self.utilization)
        return struct.pack("<BB", _NAMED, len(jobs)) + jobs + b"".join(struct.pack("<Bd", *pair) for pair in doubles)


class RollingSum:
    """A sum over the last one or two windows of time.

    Parameters
    ----------
    now:
        The present instant.
    """

    __slots__ = ("_earlier", "_since", "_sum", "_window")

    def __init__(self, now: float) -> None:
        self._since = self._window = now
        self._earlier = self._sum = 0.0

    def add(self, amount: float, now: float) -> None:
        """Add to the sum."""
        if now - self._window >= WINDOW_SECONDS:
            self._since, self._window = self._window, now
            self._earlier, self._sum = self._sum, 0.0
        self._sum += amount

    def per_second(self, now: float) -> float:
        """Return the average per second."""
        return (self._earlier + self._sum) / max(now - self._since, 0.001)


class PoolLoad:
    """The load of one pool in workers, over the last seconds."""

    __slots__ = ("_changed", "_level", "_worker_seconds")

    def __init__(self, now: float) -> None:
        self._worker_seconds = RollingSum(now)
        self._level = 0.0
        self._changed = now

    def change(self, difference: float, now: float) -> None:
        """Note that jobs have arrived or ended."""
        self._worker_seconds.add(self._level * (now - self._changed), now)
        self._changed = now
        self._level += difference

    def workers(self, now: float) -> float:
        """Return the average number of workers that the pool's jobs would have kept busy."""
        self.change(0.0, now)
        return self._worker_seconds.per_second(now)


class LoadReports:
    """An admission policy that follows each job to its end, and reports the load in its response.

    The head of a stream is written before its job ends, so it has the load at the job's admission. Any other response
    has the load at its job's end.

    Parameters
    ----------
    app:
        The app that is served.
    form:
        The format of the reports; None to report only to clients that ask for it.
    clock:
        Returns the present instant.
    """

    def __init__(self, app: App, form: ReportFormat | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._form = form
        self._clock = clock
        now = clock()
        self._pools = {name: PoolLoad(now) for name in app.pools}
        self._ended, self._failed = RollingSum(now), RollingSum(now)
        self._jobs = 0
        self._failures = failure_codes()
        self._headers: dict[ReportFormat, tuple[str, str]] = {}
        self._stale_at = now

    def report(self) -> LoadReport:
        """Return the load."""
        now = self._clock()
        loads = (load.workers(now) / max(1, self._app.pools[name].workers) for name, load in self._pools.items())
        return LoadReport(
            max(loads, default=0.0), self._ended.per_second(now), self._failed.per_second(now), self._jobs
        )

    def header(self, form: ReportFormat) -> tuple[str, str]:
        """Return the response header, which may be ``REPORT_SECONDS`` old."""
        now = self._clock()
        if now >= self._stale_at:
            self._headers.clear()
            self._stale_at = now + REPORT_SECONDS
        header = self._headers.get(form)
        if header is None:
            header = self._headers[form] = self.report().header(form)
        return header

    def policy(self, endpoint: Endpoint) -> Callable[[Submission], Release | None]:
        """Return the policy of one endpoint."""
        share, load = share_of_worker(endpoint), self._pools[endpoint.pool]

        def admit(submission: Submission) -> Release:
            self._jobs += 1
            load.change(share, self._clock())
            form = self._form_for(submission)
            if form is not None:
                submission.response_headers.append(self.header(form))

            def end(answered: JobAnswered) -> None:
                self._jobs -= 1
                now = self._clock()
                load.change(-share, now)
                self._ended.add(1, now)
                self._failed.add(answered.code in self._failures, now)
                if form is not None:
                    submission.response_headers.append(self.header(form))  # it replaces the one above

            return end

        return admit

    def _form_for(self, submission: Submission) -> ReportFormat | None:
        if not submission.has_any_header(_REQUESTED):
            return self._form
        return REPORT_FORMATS.get((submission.header(REQUEST_HEADER) or "").strip().lower(), self._form)
