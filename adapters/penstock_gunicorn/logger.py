"""gunicorn's own log, cut down to what an operator needs and sent where everything else goes."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.glogging import Logger

# What the line before or after it says better: the arbiter reports its own end, the gunicorn worker its failure.
REDUNDANT = frozenset({"Shutting down: %s", "Reason: %s", "Worker (pid:%s) exited with code %s."})


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg not in REDUNDANT


class EventLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """A ``logger_class`` that adds no handler: records go up to the root logger, hence through ``eventlog``.

    INFO is left out. At that level gunicorn tells of its start, of every gunicorn worker and of every signal; Penstock
    has an event for each of these that matters.
    """

    def setup(self, cfg: Any) -> None:
        """Set the levels and the filter; called again at each reload."""
        self.cfg = cfg
        self._access_log_enabled = False
        for log in (self.error_log, self.access_log):
            log.propagate = True
            log.disabled = False
        self.error_log.setLevel(logging.WARNING)
        if _is_news not in self.error_log.filters:
            self.error_log.addFilter(_is_news)
