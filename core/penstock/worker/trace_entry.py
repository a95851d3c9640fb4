"""The trace of the attempt that runs: for its log records, and for user code that uses OpenTelemetry.

OpenTelemetry is not imported here. If the app has imported it, what the handler does continues the request's trace.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final

from penstock.wire import Run, Trace

TRACE_IDS: ContextVar[tuple[list[str], str]] = ContextVar("penstock_trace_ids")
"""The trace ids of the attempt that runs in this context, one for each job, and the id of its span."""

_NO_IDS: Final[tuple[list[str], str]] = [], ""
_USED_BY_THE_APP: Final = "opentelemetry.trace"


def enter_trace(run: Run, trace: Trace) -> None:
    """Make this the trace of what the present task or thread does from now on.

    It is left when the next one is entered: an engine that traces sends one with every attempt.
    """
    is_traced = trace.trace_id != ""  # it is empty for a job that has none
    ids = run.trace_ids or ([trace.trace_id] if is_traced else [])
    TRACE_IDS.set((ids, trace.span_id) if ids else _NO_IDS)
    if _USED_BY_THE_APP in sys.modules:
        _attach(trace if is_traced else None)


def enter_traces(runs: Sequence[Run]) -> None:
    """Make these the traces of what the present task does from now on: a step runs for several jobs.

    Their log records name all of them. OpenTelemetry's spans belong to none of them, unless there is only one.
    """
    traces = [run.trace for run in runs if run.trace is not None]
    if len(runs) == 1 and traces:
        enter_trace(runs[0], traces[0])
    elif traces:
        TRACE_IDS.set(([trace.trace_id for trace in traces], ""))
        if _USED_BY_THE_APP in sys.modules:
            _attach(None)


def _attach(trace: Trace | None) -> None:
    # Imported here, because only apps that use it need it.
    from opentelemetry.baggage.propagation import W3CBaggagePropagator  # noqa: PLC0415 - see above
    from opentelemetry.context import Context, attach  # noqa: PLC0415 - see above
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - see above
        TraceContextTextMapPropagator,
    )

    context = Context()
    if trace is not None:
        headers = trace.headers()
        context = TraceContextTextMapPropagator().extract(headers, context)
        if trace.baggage:
            context = W3CBaggagePropagator().extract(headers, context)
    attach(context)
