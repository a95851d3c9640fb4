"""The plug-in: a breaker for each endpoint, which decides on its requests and records the results of its jobs."""

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
from penstock_breaker.circuit_limits import BreakerSettings, CircuitLimits
from penstock_breaker.circuit_states import CLOSED, HALF_OPEN, OPEN

TIMED_OUT: Final = frozenset({"execution-timeout", "total-timeout"})
FAILED: Final = frozenset({"handler-error", "worker-lost"}) | TIMED_OUT
"""The codes that count against an endpoint. Every other code but ``ok`` says nothing about it: the caller hung up or
sent invalid input, there was no room, or another policy refused the request."""


class BreakerPlugin:
    """Refuses the requests of endpoints that fail too often.

    Parameters
    ----------
    settings:
        When an endpoint is refused, and for how long.
    clock:
        Returns the seconds of a monotonic clock.
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
        """Reject overrides for endpoints that do not exist.

        Raises
        ------
        PluginError
            If an override names an unknown endpoint.
        """
        require_endpoints(app, self._settings.endpoints, plugin="breaker", setting="endpoints")

    @hookimpl
    def penstock_admission_policy(self, endpoint: Endpoint) -> Callable[[Submission], Release | None] | None:
        """Return the circuit of the endpoint as its admission policy, or None if the endpoint has no breaker."""
        limits = self._settings.limits_of(endpoint.name)
        return None if limits is None else Circuit(endpoint, limits, self._clock, self._random).admit


class Circuit:
    """The breaker of one endpoint, connected to the clock, the jobs' results and the log."""

    def __init__(
        self, endpoint: Endpoint, limits: CircuitLimits, clock: Callable[[], float], random: Callable[[], float]
    ) -> None:
        self.breaker = Breaker(limits, random)
        self._name = endpoint.name
        self._timeouts = endpoint.timeouts
        self._slow_seconds = float("inf") if limits.slow_seconds is None else limits.slow_seconds
        self._clock = clock
        self._refused = 0  # since the circuit was last closed
        # For the timeouts of the latest call, which are nearly always those of the next one.
        self._release_when_closed(endpoint.timeouts)

    def __repr__(self) -> str:
        return f"<Circuit of {self._name}: {self.breaker!r}>"

    def admit(self, submission: Submission) -> Release:
        """Let the request pass, or refuse it.

        Raises
        ------
        CircuitOpen
            If the circuit is open, or half open with a probe running.
        """
        timeouts, breaker = submission.timeouts, self.breaker
        if breaker.state is CLOSED:
            if timeouts is not self._released:
                self._release_when_closed(timeouts)
            return self._release
        now, was = self._clock(), breaker.state
        ticket = breaker.ask(now)
        if ticket is None:
            self._refused += 1
            message = f"{self._name} has failed too often or was too slow, so its circuit is open; retry later"
            raise CircuitOpen(message, retry_after=breaker.wait(now))
        if was is OPEN:
            self._log_half_open()
        return partial(self._ended, ticket, timeouts)

    def _ended(self, ticket: int, timeouts: Timeouts, answered: JobAnswered) -> None:
        """Record the result of a call, or discard the call if its result says nothing."""
        breaker, code, seconds = self.breaker, answered.code, answered.execution_seconds
        slow = seconds is not None and seconds > self._slow_seconds
        if code == "ok" and not slow and breaker.state is CLOSED:  # it cannot open the circuit
            breaker.record_success(ticket, self._clock())
            return
        failed = code != "ok" and self._is_failure(answered, timeouts)
        if code != "ok" and not failed and not (slow and code in TIMED_OUT):
            breaker.forget(ticket)
            return
        was = breaker.state
        breaker.record(ticket, self._clock(), failed=failed, slow=slow)
        if breaker.state is not was:
            if breaker.state is CLOSED:
                self._release_when_closed(self._timeouts)
            self._log_moved(was, answered)

    def _release_when_closed(self, timeouts: Timeouts) -> None:
        ticket = self.breaker.ask(0.0)
        assert ticket is not None
        self._released = timeouts
        self._release: Release = partial(self._ended, ticket, timeouts)

    def _is_failure(self, answered: JobAnswered, timeouts: Timeouts) -> bool:
        """Return whether the result counts against the endpoint.

        A timeout does not if the caller has set tighter limits than the endpoint's: otherwise any caller could open
        the circuit for all callers, by allowing no time.
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
        fields = {"endpoint": self._name, "seconds": round(breaker.open_for, 3), "reopened": breaker.reopened}
        if was is HALF_OPEN:
            why = f"a probe failed ({answered.code})" if answered.code != "ok" else "a probe was slow"
            fields |= {"request_id": answered.request_id, "refused": self._refused}
        else:
            why = f"of {window.calls} calls, {window.failed} failed and {window.slow} were slow"
            fields |= {"calls": window.calls, "failed": window.failed, "slow": window.slow}
        message = f"the circuit of {self._name} is open for {breaker.open_for:.3g} s: {why}"
        log_event(logging.WARNING, "circuit-opened", message, **fields)

    def _log_half_open(self) -> None:
        message = f"the circuit of {self._name} is half open: one call at a time passes, as a probe"
        log_event(logging.INFO, "circuit-half-open", message, endpoint=self._name, refused=self._refused)


def _is_tighter(asked: Timeouts, declared: Timeouts) -> bool:
    """Return whether a limit that ends a running job is tighter than the endpoint's."""
    return any(
        callers is not None and (endpoints is None or callers < endpoints)
        for callers, endpoints in (
            (asked.execution, declared.execution),
            (asked.total, declared.total),
            (asked.first_chunk, declared.first_chunk),
            (asked.idle, declared.idle),
        )
    )
