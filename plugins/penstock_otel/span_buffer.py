"""The records of sampled requests, on their way from the engine's thread to the one that exports them as spans."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from penstock.hooks import BatchTraced, JobTraced, RequestAnswered, log_event
from penstock_otel.environment import Environment
from penstock_otel.export_thread import CollectorHealth, ExportThread

TracedRecord: TypeAlias = RequestAnswered | JobTraced | BatchTraced
_LOGGER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class SpanBuffer:
    """A bounded buffer of records, and the thread that empties it. ``OTEL_BSP_*`` set its size and the thread's pace.

    Parameters
    ----------
    environment:
        The variables.
    service:
        The name of the service if the variables have none.
    """

    def __init__(self, environment: Environment, service: str) -> None:
        self._service = service
        self._most = environment.positive("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
        self._batch = min(environment.positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), self._most)
        interval = environment.positive("OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000
        self._records: deque[TracedRecord] = deque()
        self._dropped = 0
        self.thread = ExportThread("traces", self._prepare, interval=interval)

    def put(self, record: TracedRecord) -> None:
        """Add a record. If the buffer is full, it is dropped: a collector that is too slow delays nothing."""
        records = self._records
        if len(records) >= self._most:
            self._dropped += 1
            return
        records.append(record)
        if len(records) == self._batch:
            self.thread.wake()

    # ---- in the thread

    def _prepare(self) -> Callable[[], None]:
        # These take a tenth of a second to import.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above
        from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415 - see above

        from penstock_otel.resources import resource_of  # noqa: PLC0415 - see above
        from penstock_otel.spans import SpanMaker  # noqa: PLC0415 - see above

        exporter = OTLPSpanExporter()
        maker = SpanMaker(resource_of(self._service))
        health = CollectorHealth("traces", _LOGGER)

        def export() -> None:
            maker.clock.look()
            left = len(self._records)  # later ones wait for the next round
            while left > 0:
                batch = [self._records.popleft() for _ in range(min(left, self._batch))]
                left -= len(batch)
                spans = [span for record in batch for span in maker.spans_of(record)]
                is_exported = exporter.export(spans) is SpanExportResult.SUCCESS
                health.note(is_exported=is_exported, count=len(spans))
                if is_exported:
                    self._report_drops()

        return export

    def _report_drops(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            message = f"the traces of {dropped} requests were lost: they came faster than the collector took them"
            log_event(logging.WARNING, "otel-dropped", message, records=dropped)
