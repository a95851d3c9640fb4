"""The circuit breaker of one endpoint: what has come of the calls goes in, whether another may pass comes out.

It knows no clock and no transport: where the time is needed ``now`` is given, in seconds of any monotonic clock.

A call that may pass gets a ticket, a number, and its result is told with it. Numbers only grow: a ticket that is older
than the state the circuit is in belongs to a time that is over, and is not listened to. So a job that was let in before
the circuit opened, and fails long after, says nothing about the endpoint as it is now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock_breaker.limits import Limits
from penstock_breaker.states import CIRCUIT, CLOSED, OPEN
from penstock_breaker.window import Window

JITTER: Final = 0.2
"""A rest is cut by up to this share at random, lest several servers probe the same thing at the same instant."""

RESULT_SECONDS: Final = 1.0
"""What callers are told while a probe is under way: its result may come at any moment."""


class Breaker:
    """Decides which calls pass.

    Parameters
    ----------
    limits:
        When it opens, and for how long.
    random:
        Returns a number from 0 to 1, for the jitter.

    Attributes
    ----------
    state:
        One of ``closed``, ``open``, ``half open``.
    window:
        The calls of late; empty but when closed.
    rest:
        Seconds of the present rest, or of the latest.
    reopened:
        How often a probe has failed since it was last closed.
    """

    __slots__ = (
        "_first",
        "_limits",
        "_probe_until",
        "_random",
        "_reopens_at",
        "_succeeded",
        "_ticket",
        "reopened",
        "rest",
        "state",
        "window",
    )

    def __init__(self, limits: Limits, random: Callable[[], float]) -> None:
        self._limits = limits
        self._random = random
        self.state = CLOSED
        self.window = Window(limits.window)
        self.rest = 0.0
        self.reopened = 0
        self._ticket = 0  # the latest that was given out
        self._first = 0  # the first that is valid: of the present state
        self._reopens_at = 0.0  # when open: from when on a probe may pass
        # When half open: until when nobody else may pass; None: the place is free.
        self._probe_until: float | None = None
        self._succeeded = 0  # probes, since it was last open

    def __repr__(self) -> str:
        if self.state is CLOSED:
            return f"<Breaker closed: {self.window!r}>"
        return f"<Breaker {self.state}, reopened {self.reopened} times, {self._succeeded} probes succeeded>"

    def ask(self, now: float) -> int | None:
        """Ask whether a call may pass.

        Returns
        -------
        Its ticket, for ``tell`` or ``forget``; None if it may not pass, and ``wait`` says for how long.
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
        """How long until the next call may pass, in seconds; when a probe is under way, a guess."""
        if self.state is OPEN:
            return max(0.0, self._reopens_at - now)
        if self._probe_until is None:
            return 0.0
        return max(0.0, min(self._probe_until - now, RESULT_SECONDS))

    def tell(self, ticket: int, now: float, *, failed: bool = False, slow: bool = False) -> None:
        """Say what came of a call. A ticket of an earlier state is not listened to."""
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

    def forget(self, ticket: int) -> None:
        """Say that a call came to nothing that counts: it was cancelled, or refused by somebody else."""
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
        doubled = limits.open_seconds * 2.0 ** min(self.reopened, 30)  # bounded: a float has an end
        self.rest = min(doubled, limits.max_open_seconds) * (1.0 - JITTER * self._random())
        self._reopens_at = now + self.rest
        self._move("trip")

    def _move(self, happening: str) -> None:
        self.state = CIRCUIT[self.state][happening]
        self._ticket += 1
        self._first = self._ticket
        self._probe_until = None
        self._succeeded = 0
        if self.state is CLOSED:
            self.reopened = 0
            self.window.clear()
