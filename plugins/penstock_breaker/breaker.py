"""The circuit breaker of one endpoint: results of calls go in, and the decision on the next call comes out.

It has no clock and knows no transport: methods that need the time take ``now``, in seconds of any monotonic clock.

A call that may pass gets a ticket, a number, and its result is recorded with it. Ticket numbers only grow: a ticket
older than the current state of the circuit belongs to an earlier state, and its result is ignored. So a job that was
admitted before the circuit opened, and fails long after, says nothing about the endpoint as it is now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock_breaker.call_window import CallWindow
from penstock_breaker.circuit_limits import CircuitLimits
from penstock_breaker.circuit_states import CIRCUIT, CLOSED, OPEN

JITTER: Final = 0.2
"""An open period is shortened at random by up to this share, so that several servers do not probe at one instant."""

RESULT_SECONDS: Final = 1.0
"""The longest wait suggested to callers while a probe is running: its result may come at any moment."""


class Breaker:
    """Decides which calls pass.

    Parameters
    ----------
    limits:
        When the circuit opens, and for how long.
    random:
        Returns a number from 0 to 1, for the jitter.

    Attributes
    ----------
    state:
        One of ``closed``, ``open``, ``half open``.
    window:
        The recent calls; empty unless the circuit is closed.
    open_for:
        Length in seconds of the current open period, or of the latest.
    reopened:
        Number of probes that have failed since the circuit was last closed.
    """

    __slots__ = (
        "_first",
        "_limits",
        "_probe_until",
        "_random",
        "_reopens_at",
        "_succeeded",
        "_ticket",
        "open_for",
        "reopened",
        "state",
        "window",
    )

    def __init__(self, limits: CircuitLimits, random: Callable[[], float]) -> None:
        self._limits = limits
        self._random = random
        self.state = CLOSED
        self.window = CallWindow(limits.window)
        self.open_for = 0.0
        self.reopened = 0
        self._ticket = 0  # the latest ticket issued
        self._first = 0  # the first ticket of the current state: older ones are ignored
        self._reopens_at = 0.0  # when open: the instant from which a probe may pass
        # When half open: the instant until which no other call may pass; None: no probe is running.
        self._probe_until: float | None = None
        self._succeeded = 0  # probes, since the circuit was last open

    def __repr__(self) -> str:
        if self.state is CLOSED:
            return f"<Breaker closed: {self.window!r}>"
        return f"<Breaker {self.state}, reopened {self.reopened} times, {self._succeeded} probes succeeded>"

    def ask(self, now: float) -> int | None:
        """Ask whether a call may pass.

        Returns
        -------
        Its ticket, for ``record`` or ``forget``; None if it may not pass, and then ``wait`` returns for how long.
        """
        if self.state is CLOSED:
            return self._ticket
        if self.state is OPEN:
            if now < self._reopens_at:
                return None
            self._move("try again")
        elif self._probe_until is not None and now < self._probe_until:
            return None
        self._ticket += 1
        self._probe_until = now + self._limits.probe_seconds
        return self._ticket

    def wait(self, now: float) -> float:
        """Return the seconds until the next call may pass; an estimate while a probe is running."""
        if self.state is OPEN:
            return max(0.0, self._reopens_at - now)
        if self._probe_until is None:
            return 0.0
        return max(0.0, min(self._probe_until - now, RESULT_SECONDS))

    def record(self, ticket: int, now: float, *, failed: bool = False, slow: bool = False) -> None:
        """Record the result of a call. The result of a ticket from an earlier state is ignored."""
        if ticket < self._first:
            return
        if self.state is CLOSED:
            self.window.add(now, failed=failed, slow=slow)
            # Only a bad call opens the circuit: a good one that completes the minimum does not.
            if (failed or slow) and self._is_too_bad():
                self._open(now)
            return
        self.forget(ticket)
        if failed or slow:
            self.reopened += 1
            self._open(now)
            return
        self._succeeded += 1
        if self._succeeded >= self._limits.probes:
            self._move("recover")

    def record_success(self, ticket: int, now: float) -> None:
        """Record that a call has succeeded while the circuit is closed; as ``record``, for the usual case."""
        if ticket >= self._first:
            self.window.add(now)

    def forget(self, ticket: int) -> None:
        """Discard a call without a result that counts: it was cancelled, or another policy refused it."""
        if ticket == self._ticket:
            self._probe_until = None

    def _is_too_bad(self) -> bool:
        limits, window = self._limits, self.window
        if window.calls < limits.min_calls:
            return False
        if limits.failure_rate is not None and window.failed >= limits.failure_rate * window.calls:
            return True
        return limits.slow_seconds is not None and window.slow >= limits.slow_rate * window.calls

    def _open(self, now: float) -> None:
        limits = self._limits
        doubled = limits.open_seconds * 2.0 ** min(self.reopened, 30)  # bounded, because a float overflows
        self.open_for = min(doubled, limits.max_open_seconds) * (1.0 - JITTER * self._random())
        self._reopens_at = now + self.open_for
        self._move("trip")

    def _move(self, event: str) -> None:
        self.state = CIRCUIT[self.state][event]
        self._ticket += 1
        self._first = self._ticket
        self._probe_until = None
        self._succeeded = 0
        if self.state is CLOSED:
            self.reopened = 0
            self.window.clear()
