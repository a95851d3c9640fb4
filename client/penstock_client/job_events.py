"""The reading of a job's events: what has arrived, and whether a stream that breaks off is asked for again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec

from penstock_client import errors
from penstock_client.errors import ClientError
from penstock_client.job_records import JobEvent
from penstock_client.retry_settings import Retries
from penstock_client.server_sent_events import ServerSentEvent

PATIENCE: Final = 60.0
"""The seconds without an event for which a stream that breaks off is asked for again, while a server restarts."""

_RESUMABLE: Final = (
    errors.ConnectionFailed,
    errors.IdleTimeout,
    errors.EventTimeout,
    errors.FirstByteTimeout,
    errors.TruncatedStream,
    errors.Unavailable,
    errors.NotReady,
    errors.Draining,
    errors.CircuitOpen,
)


NOTHING_MORE: Final = 204
"""The status of a server for a reader that has all events of a job that has ended."""
END: Final = ServerSentEvent(event="end", data="")
"""Stands for the answer with this status."""


class EventCursor:
    """Keeps the number of the last event of one job, and judges the errors of its streams.

    Parameters
    ----------
    after:
        The number of the last event that is not wanted.
    retries:
        The limits on the waits.
    rand:
        Returns a random number from 0 to 1.
    now:
        The time.
    """

    def __init__(self, after: int, retries: Retries, rand: Callable[[], float], now: float) -> None:
        self.last = after
        self.is_over = False
        self._retries = retries
        self._rand = rand
        self._failures = 0
        self._moved = now

    def on_event(self, event: ServerSentEvent, now: float) -> JobEvent | None:
        """Return the event of the job; None for one that was read before.

        Raises
        ------
        InvalidAnswer
            If it has no number.
        """
        if event is END:
            self.is_over = True
            return None
        if not event.id.isdecimal():
            raise errors.InvalidAnswer(f"not the event of a job: {event.event!r} with the id {event.id!r}")
        number = int(event.id)
        if number <= self.last:
            return None
        self.last, self._failures, self._moved = number, 0, now
        self.is_over = event.event == "end"
        return JobEvent(number, event.event, _decoded(event.data))

    def on_end(self) -> NoReturn:
        """Note that a stream has ended in good order, which is an error before the end of the job."""
        raise errors.TruncatedStream("the events of the job have ended before the job")

    def on_broken(self, error: ClientError, now: float, deadline: float = math.inf) -> float:
        """Return the seconds before the stream is asked for again.

        Raises
        ------
        ClientError
            The error itself, if that would not help, or if there was no event for too long.
        """
        self._failures += 1
        delay = self._retries.delay(self._failures, error.retry_after, self._rand)
        if not isinstance(error, _RESUMABLE) or now + delay > min(deadline, self._moved + PATIENCE):
            raise error
        return delay


def _decoded(data: str) -> Any:
    """Return the value of JSON; the chunks of a stream may be any text."""
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data
