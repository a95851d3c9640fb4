"""The audit line: each shutdown writes one line to the log, at its end, however it was requested."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from penstock.hooks import DrainEnded, DrainStarted, JobAbandoned, Record, log_event

MAX_NAMED: Final = 10
"""Number of abandoned requests that the line names; the others are only counted."""


class Audit:
    """Observes the shutdown of one engine.

    Parameters
    ----------
    clock:
        Returns the seconds of a monotonic clock.

    Attributes
    ----------
    drain:
        The drain that has begun, and may have ended; None until a shutdown is requested.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = 0.0
        self.drain: DrainStarted | None = None
        self._abandoned: Counter[str] = Counter()  # by endpoint
        self._named: list[str] = []

    def observers(self) -> Mapping[type[Record], Callable[[Any], None]]:
        """Return the observer of each kind of record."""
        return {DrainStarted: self._started, JobAbandoned: self._abandon, DrainEnded: self._ended}

    def _started(self, record: DrainStarted) -> None:
        self.drain = record
        self._until = self._clock() + record.seconds

    def seconds_left(self) -> float:
        """Return what is left of the granted time; 0 if no shutdown is in progress."""
        return max(0.0, self._until - self._clock())

    def _abandon(self, record: JobAbandoned) -> None:
        self._abandoned[record.endpoint] += 1
        if len(self._named) < MAX_NAMED:
            self._named.append(record.request_id)

    def _ended(self, record: DrainEnded) -> None:
        self._until = 0.0
        because = f", because: {record.why}" if record.why else ""
        log_event(
            logging.WARNING if record.abandoned else logging.INFO,
            "shutdown",
            f"shut down by {record.who} within {record.seconds:.2f} s: "
            f"finished {record.finished}, abandoned {record.abandoned}{because}",
            who=record.who,
            why=record.why or None,
            seconds=round(record.seconds, 3),
            granted=None if self.drain is None else round(self.drain.seconds, 3),
            jobs=None if self.drain is None else self.drain.jobs,
            finished=record.finished,
            abandoned=record.abandoned,
            endpoints=dict(self._abandoned) or None,
            request_ids=self._named or None,
        )
