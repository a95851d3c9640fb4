"""Records turned into OpenTelemetry's spans. This module loads its SDK, so it is imported in the exporting thread only.

The names of attributes are those of the semantic conventions for HTTP, and ``penstock.*`` for the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final, TypeAlias

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from penstock.hooks import BatchTraced, JobTraced, RequestAnswered, Trace, TracedAttempt

SCOPE: Final = "penstock"
OK: Final = "ok"
CANCELLED: Final = "cancelled"
WORKER_LOST: Final = "worker-lost"
EXPIRED: Final = frozenset({"queue-timeout", "execution-timeout", "total-timeout", "deadline-infeasible"})
CLIENT_CLOSED: Final = 499

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
STEP_SECONDS: Final = 0.001
"""A wall clock that has moved by more than this against the monotonic one has been set."""

AttributeValues: TypeAlias = dict[str, str | int | float | bool]


class WallClock:
    """Instants of the monotonic clock as nanoseconds since 1970, in steps only when the wall clock has been set."""

    def __init__(self) -> None:
        self._offset = self._measured()

    @staticmethod
    def _measured() -> float:
        return time.time() - time.monotonic()

    def look(self) -> None:
        """Find out whether the wall clock has been set."""
        offset = self._measured()
        if abs(offset - self._offset) > STEP_SECONDS:
            self._offset = offset

    def __call__(self, instant: float) -> int:
        """Return an instant in nanoseconds since 1970."""
        return int((instant + self._offset) * 1e9)


class SpanMaker:
    """Makes the spans of requests, of waits in the queue, of attempts and of batches.

    Parameters
    ----------
    resource:
        The description of this service.
    """

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._scope = InstrumentationScope(SCOPE, version("penstock"))
        self.clock = WallClock()

    def spans_of(self, record: RequestAnswered | JobTraced | BatchTraced) -> Iterator[ReadableSpan]:
        """Yield the spans of a record."""
        if isinstance(record, RequestAnswered):
            yield self._of_request(record)
        elif isinstance(record, JobTraced):
            yield from self._of_job(record)
        else:
            yield self._of_batch(record)

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        times: tuple[float, float],
        attributes: AttributeValues,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        is_error: bool = False,
        events: tuple[Event, ...] = (),
        links: tuple[Link, ...] = (),
    ) -> ReadableSpan:
        start, end = map(self.clock, times)
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            events,
            links,
            kind,
            status=Status(StatusCode.ERROR if is_error else StatusCode.UNSET),
            start_time=start,
            end_time=max(start, end),
            instrumentation_scope=self._scope,
        )

    def _of_request(self, record: RequestAnswered) -> ReadableSpan:
        trace = record.trace
        assert trace is not None, "only sampled requests have spans"
        method = record.method if record.method in METHODS else "HTTP"
        return self._span(
            f"{method} {record.route}".rstrip(),
            _context(trace, trace.span_id),
            _context(trace, trace.parent_id, is_remote=True) if trace.parent_id else None,
            (record.began, record.began + record.seconds),
            _request_attributes(record, trace),
            kind=SpanKind.SERVER,
            is_error=is_server_error(record),
        )

    def _of_job(self, record: JobTraced) -> Iterator[ReadableSpan]:
        """Yield the spans of the attempts, and of the waits before and between them, without a gap."""
        since, waits = record.arrived, 0
        for attempt in record.attempts:
            yield self._wait(record, waits, since, attempt.started, OK)
            yield self._of_attempt(record, attempt)
            since, waits = attempt.ended, waits + 1
        if not record.attempts or since < record.answered:
            yield self._wait(record, waits, since, record.answered, record.code)

    def _wait(self, record: JobTraced, number: int, began: float, ended: float, code: str) -> ReadableSpan:
        trace = record.trace
        attributes: AttributeValues = {"penstock.endpoint": record.endpoint}
        if number:
            delay = record.attempts[number - 1].retry_delay
            if delay is not None:
                attributes["penstock.retry.delay"] = delay
        if code != OK:
            attributes |= {"penstock.outcome": outcome_of(code), "error.type": code}
        # Below 0, where no attempt has its number.
        context = _context(trace, trace.attempt_id(-1 - number))
        return self._span("queue", context, _context(trace, trace.span_id), (began, ended), attributes)

    def _of_attempt(self, record: JobTraced, attempt: TracedAttempt) -> ReadableSpan:
        trace = record.trace
        attributes: AttributeValues = {
            "penstock.endpoint": record.endpoint,
            "penstock.worker": attempt.worker,
            "penstock.attempt": attempt.number,
            "penstock.attempt.id": attempt.attempt_id,
        }
        is_retried = attempt.retry_delay is not None and attempt.code != WORKER_LOST
        attributes["penstock.outcome"] = "retried" if is_retried else outcome_of(attempt.code)
        if attempt.code != OK:
            attributes["error.type"] = attempt.code
        events: tuple[Event, ...] = ()
        if record.first_chunk is not None and attempt is record.attempts[-1]:
            events = (Event("first_chunk", timestamp=self.clock(record.first_chunk)),)
            attributes["penstock.chunks"] = record.chunks
        batch = attempt.batch
        return self._span(
            "attempt",
            _context(trace, trace.attempt_id(attempt.number)),
            _context(trace, trace.span_id),
            (attempt.started, attempt.ended),
            attributes,
            is_error=attempt.code not in (OK, CANCELLED),
            events=events,
            links=() if batch is None else (Link(_context(batch, batch.span_id)),),
        )

    def _of_batch(self, record: BatchTraced) -> ReadableSpan:
        trace = record.trace
        attributes: AttributeValues = {
            "penstock.endpoint": record.endpoint,
            "penstock.worker": record.worker,
            "penstock.attempt.id": record.attempt_id,
            "penstock.batch.size": record.jobs,
            "penstock.batch.useful": record.useful,
        }
        return self._span(
            "batch",
            _context(trace, trace.span_id),
            None,
            (record.started, record.ended),
            attributes,
            links=tuple(Link(_context(member, member.span_id)) for member in record.members),
        )


def outcome_of(code: str) -> str:
    """Return the word for the end of an attempt, or of a wait, by its code."""
    if code in (OK, CANCELLED):
        return code
    return "lost" if code == WORKER_LOST else "expired" if code in EXPIRED else "failed"


def is_server_error(record: RequestAnswered) -> bool:
    """Return whether a response is the server's failure: by its status, or as a stream that had begun and failed."""
    return record.status >= 500 or (record.code not in (OK, CANCELLED) and record.status < 400)


def _context(trace: Trace, span_id: str, *, is_remote: bool = False) -> SpanContext:
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(int(trace.trace_id, 16), int(span_id, 16), is_remote, TraceFlags(trace.flags), state)


def _request_attributes(record: RequestAnswered, trace: Trace) -> AttributeValues:
    attributes: AttributeValues = {
        "http.request.method": record.method if record.method in METHODS else "_OTHER",
        "url.path": record.path,
        "penstock.request_id": record.request_id,
        "penstock.attempts": record.attempts,
    }
    if attributes["http.request.method"] == "_OTHER":
        attributes["http.request.method_original"] = record.method
    if record.status != CLIENT_CLOSED:  # then no response was sent
        attributes["http.response.status_code"] = record.status
    host, _, port = trace.host.rpartition(":") if trace.host[-1:] != "]" else (trace.host, "", "")
    optional = {
        "http.route": record.route,
        "client.address": record.address,
        "user_agent.original": trace.user_agent,
        "server.address": host if port.isdecimal() else trace.host,
        "penstock.principal": record.principal or "",
        "error.type": error_type(record),
    }
    attributes |= {name: value for name, value in optional.items() if value}
    if host and port.isdecimal():
        attributes["server.port"] = int(port)
    return attributes


def error_type(record: RequestAnswered) -> str:
    """Return the code of a response that is an error, or the status of one that a handler has made; "" for others."""
    if record.code != OK:
        return record.code
    return str(record.status) if record.status >= 500 else ""
