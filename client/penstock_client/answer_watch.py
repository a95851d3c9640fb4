"""The time-outs of an answer that is arriving."""

from __future__ import annotations

import math
from typing import Final

from penstock_client.retry_table import Fault
from penstock_client.timeouts import Timeouts

SECONDS_TO_END: Final = 1.0
"""The time that a stream may take from the mark of its end to the end of the response."""


class AnswerWatch:
    """Says how long the next piece of an answer may take, and which time-out a silence has reached.

    Parameters
    ----------
    timeouts:
        ``idle`` and, for a stream, ``event`` count.
    deadline:
        The instant at which the call is over.
    now:
        The instant at which the answer began.
    """

    def __init__(self, timeouts: Timeouts, deadline: float, now: float) -> None:
        self._idle = math.inf if timeouts.idle is None else timeouts.idle
        self._event = math.inf if timeouts.event is None else timeouts.event
        self._deadline = deadline
        self._event_at = self._piece_at = now

    def next_limit(self) -> float:
        """Return the instant by which the next piece must be here."""
        return min(self._piece_at + self._idle, self._event_at + self._event, self._deadline)

    def on_piece(self, now: float, *, has_event: bool) -> None:
        """Note that a piece has arrived."""
        self._piece_at = now
        if has_event:
            self._event_at = now

    def on_complete(self, now: float) -> None:
        """Note that nothing more is needed: the rest is read only so that the connection can be used again."""
        self._deadline = min(self._deadline, now + SECONDS_TO_END)

    def resume(self, now: float) -> None:
        """Note that the program asks for more: the time that it took with the last event does not count."""
        self._piece_at = self._event_at = now

    def passed(self, now: float) -> Fault | None:
        """Return the time-out that has been reached whether or not bytes arrive; None if there is none."""
        if now >= self._deadline:
            return Fault.TOTAL_TIMEOUT
        return Fault.EVENT_TIMEOUT if now >= self._event_at + self._event else None

    def of_silence(self, now: float) -> Fault:
        """Return the time-out that a silence has reached."""
        return self.passed(now + 0.001) or Fault.IDLE_TIMEOUT
