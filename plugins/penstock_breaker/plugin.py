"""The plug-in: a breaker for each endpoint, asked as its requests come in and told as its jobs are over."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from penstock.errors import CircuitOpen
from penstock.hooks import (
    App,
    Endpoint,
    JobAnswered,
    Release,
    Submission,
    Timeouts,
    hookimpl,
    log_event,
    require_endpoints,
)
from penstock_breaker.breaker import Breaker
from penstock_breaker.limits import BreakerSettings, Limits
from penstock_breaker.states import CLOSED, HALF_OPEN, OPEN

TIMED_OUT: Final = frozenset({"execution-timeout", "total-timeout"})
FAILED: Final = frozenset({"handler-error", "worker-lost"}) | TIMED_OUT
"""What speaks against an endpoint. All else that is not ``ok`` says nothing about it: that its caller has left or has
sent what does not fit, that there was no room, that somebody else has refused it."""


class BreakerPlugin:
    """Gives endpoints that fail too often a rest.

    Parameters
    ----------
    settings:
        When, and for how long.
    clock:
        Returns seconds that only grow.
    random:
        Returns a number from 0 to 1.
    """

    name = "breaker"
    Settings = BreakerSettings

    def __init__(
        self,
        settings: BreakerSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random

    def check(self, app: App) -> None:
        """Refuse settings of endpoints that are not there.

        Raises
        ------
        PluginError
            If there are any.
        """
        require_endpoints(app, self._settings.endpoints, plugin="breaker", setting="endpoints")

    @hookimpl
    def penstock_admission_policy(self, endpoint: Endpoint) -> Callable[[Submission], Release | None] | None:
        """See ``penstock.hooks.hookspecs``."""
        limits = self._settings.limits_of(endpoint.name)
        return None if limits is None else Circuit(endpoint, limits, self._clock, self._random).admit


class Circuit:
    """The breaker of one endpoint, with what surrounds it: the clock, the records, the log."""

    def __init__(
        self, endpoint: Endpoint, limits: Limits, clock: Callable[[], float], random: Callable[[], float]
    ) -> None:
        self.breaker = Breaker(limits, random)
        self._name = endpoint.name
        self._timeouts = endpoint.timeouts
        self._slow_seconds = float("inf") if limits.slow_seconds is None else limits.slow_seconds
        self._clock = clock
        self._refused = 0  # since the circuit was last closed
        # Made once for each time that the circuit is closed, not for each call.
        self._release = self._release_when_closed()

    def __repr__(self) -> str:
        return f"<Circuit of {self._name}: {self.breaker!r}>"

    def admit(self, submission: Submission) -> Release:
        """Let the request pass, or refuse it.

        Raises
        ------
        CircuitOpen
            If the endpoint is having a rest, or somebody else is trying it out.
        """
        timeouts, breaker = submission.timeouts, self.breaker
        if breaker.state is CLOSED and timeouts is self._timeouts:
            return self._release
        now, was = self._clock(), breaker.state
        ticket = breaker.ask(now)
        if ticket is None:
            self._refused += 1
            message = f"{self._name} has failed too often or was too slow, and is given a rest"
            raise CircuitOpen(message, retry_after=breaker.wait(now))
        if was is OPEN:
            self._log_half_open()
        return partial(self._over, ticket, timeouts)

    def _over(self, ticket: int, timeouts: Timeouts, answered: JobAnswered) -> None:
        """A call is over, or has come to nothing."""
        breaker, code, seconds = self.breaker, answered.code, answered.execution_seconds
        slow = seconds is not None and seconds > self._slow_seconds
        failed = code != "ok" and self._is_failure(answered, timeouts)
        if code != "ok" and not failed and not (slow and code in TIMED_OUT):
            breaker.forget(ticket)
            return
        was = breaker.state
        breaker.tell(ticket, self._clock(), failed=failed, slow=slow)
        if breaker.state is not was:
            if breaker.state is CLOSED:
                self._release = self._release_when_closed()
            self._log_moved(was, answered)

    def _release_when_closed(self) -> Release:
        ticket = self.breaker.ask(0.0)
        assert ticket is not None
        return partial(self._over, ticket, self._timeouts)

    def _is_failure(self, answered: JobAnswered, timeouts: Timeouts) -> bool:
        """Whether it speaks against the endpoint.

        A time-out does not where the caller has set tighter limits than the endpoint's: otherwise anybody could open
        the circuit for everybody, by giving no time.
        """
        if not answered.attempts or answered.code not in FAILED:
            return False
        return answered.code not in TIMED_OUT or not _is_tighter(timeouts, self._timeouts)

    # ---- the log

    def _log_moved(self, was: str, answered: JobAnswered) -> None:
        if self.breaker.state is OPEN:
            self._log_opened(answered, was)
            return
        message = f"the circuit of {self._name} is closed: its probes have succeeded"
        log_event(logging.INFO, "circuit-closed", message, endpoint=self._name, refused=self._refused)
        self._refused = 0

    def _log_opened(self, answered: JobAnswered, was: str) -> None:
        breaker, window = self.breaker, self.breaker.window
        fields = {"endpoint": self._name, "seconds": round(breaker.rest, 3), "reopened": breaker.reopened}
        if was is HALF_OPEN:
            why = f"a probe failed ({answered.code})" if answered.code != "ok" else "a probe was slow"
            fields |= {"probe": answered.request_id, "refused": self._refused}
        else:
            why = f"of {window.calls} calls {window.failed} failed and {window.slow} were slow"
            fields |= {"calls": window.calls, "failed": window.failed, "slow": window.slow}
        message = f"the circuit of {self._name} is open for {breaker.rest:.3g} s: {why}"
        log_event(logging.WARNING, "circuit-opened", message, **fields)

    def _log_half_open(self) -> None:
        message = f"the circuit of {self._name} is half open: single calls are let through to see how it does"
        log_event(logging.INFO, "circuit-half-open", message, endpoint=self._name, refused=self._refused)


def _is_tighter(asked: Timeouts, declared: Timeouts) -> bool:
    """Whether a limit that ends a running job is less than the endpoint's."""
    return any(
        mine is not None and (its is None or mine < its)
        for mine, its in (
            (asked.execution, declared.execution),
            (asked.total, declared.total),
            (asked.first_chunk, declared.first_chunk),
            (asked.idle, declared.idle),
        )
    )
