"""OpenTelemetry in a worker, for the spans of user code: set up after the fork, because it starts a thread."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Final

from penstock import App

SHUTDOWN_SECONDS: Final = 1.0
"""A worker that does not end soon after its tear-down is killed."""

_USED_BY_THE_APP: Final = "opentelemetry.trace"
_LOGGER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class FirstOfEach(logging.Filter):
    """Shows a message of the exporter once, and not for each batch."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message, without its details, is new."""
        is_new = str(record.msg) not in self._shown
        self._shown.add(str(record.msg))
        return is_new


def set_up(app: App) -> Callable[[], None] | None:
    """Have the spans of user code exported, unless it uses no OpenTelemetry, or has set that up itself."""
    if _USED_BY_THE_APP not in sys.modules:
        return None
    from opentelemetry import trace  # noqa: PLC0415 - only apps that use it need it

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - see above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - see above

    from penstock_otel.resources import resource_of  # noqa: PLC0415 - see above

    logging.getLogger(_LOGGER).addFilter(FirstOfEach())
    provider = TracerProvider(resource=resource_of(app.import_name), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return partial(_shut_down, provider.shutdown)


def _shut_down(shutdown: Callable[[], None]) -> None:
    """Export what is left, but do not wait for a collector that hangs."""
    thread = Thread(target=shutdown, daemon=True)
    thread.start()
    thread.join(SHUTDOWN_SECONDS)
