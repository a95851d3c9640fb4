"""The audit line: each shutdown is one line of the log, at its end, however it was asked for."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from penstock.hooks import DrainEnded, DrainStarted, JobAbandoned, Record, log_event

MOST_NAMED: Final = 10
"""So many abandoned requests are named in the line; the others are counted."""


class Audit:
    """Watches the way down of one engine.

    Parameters
    ----------
    clock:
        Returns seconds that only grow.

    Attributes
    ----------
    drain:
        What is under way, or was; None while nobody has asked for a shutdown.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = 0.0
        self.drain: DrainStarted | None = None
        self._abandoned: Counter[str] = Counter()  # by endpoint
        self._named: list[str] = []

    def observers(self) -> Mapping[type[Record], Callable[[Any], None]]:
        """What to be told."""
        return {DrainStarted: self._started, JobAbandoned: self._abandon, DrainEnded: self._ended}

    def _started(self, record: DrainStarted) -> None:
        self.drain = record
        self._until = self._clock() + record.seconds

    def seconds_left(self) -> float:
        """Of what was granted; 0 if nothing is under way."""
        return max(0.0, self._until - self._clock())

    def _abandon(self, record: JobAbandoned) -> None:
        self._abandoned[record.endpoint] += 1
        if len(self._named) < MOST_NAMED:
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
            requests=self._named or None,
        )
