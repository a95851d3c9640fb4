"""gunicorn's own log, reduced to what an operator needs and sent to the event log."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.glogging import Logger

# Covered by the lines before or after them: the arbiter logs its own end, and the gunicorn worker its failure.
REDUNDANT = frozenset({"Shutting down: %s", "Reason: %s", "Worker (pid:%s) exited with code %s."})


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg not in REDUNDANT


class EventLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """A ``logger_class`` without handlers: records propagate to the root logger, and so to Penstock's event log.

    INFO is dropped. At that level gunicorn logs its start, every gunicorn worker and every signal; Penstock has an
    event for each of these that matters.
    """

    def setup(self, cfg: Any) -> None:
        """Set the levels and the filter. gunicorn calls this again at each reload."""
        self.cfg = cfg
        self._access_log_enabled = False
        for log in (self.error_log, self.access_log):
            log.propagate = True
            log.disabled = False
        self.error_log.setLevel(logging.WARNING)
        if _is_news not in self.error_log.filters:
            self.error_log.addFilter(_is_news)
