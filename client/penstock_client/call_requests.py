"""The requests of one call: those that are on their way, and the outcomes of the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from penstock_client.call_records import Attempt
from penstock_client.endpoint_breaker import Breaker
from penstock_client.plan_messages import CallSpec, Send
from penstock_client.retry_table import Fault

MARGIN: Final = 0.05
"""The share of the time left, up to as many seconds, by which the server's deadline is earlier than ours."""


_IS_CONNECT: Final = (Fault.CONNECT, Fault.CONNECT_TIMEOUT)


@dataclass(frozen=True)
class Flight:
    """A request that is on its way: its number, when it was sent, and the wait before."""

    number: int
    sent: float
    delay: float


class CallRequests:
    """The account of a call's requests. There are two on their way at most: a slow one and its hedge.

    Parameters
    ----------
    breaker:
        Counts what they meet.
    """

    def __init__(self, breaker: Breaker | None) -> None:
        self._breaker = breaker
        self.number = 0
        self._flights: dict[int, Flight] = {}
        self._attempts: list[Attempt] = []

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The outcomes of the requests, in the order in which they were sent."""
        return tuple(sorted(self._attempts, key=lambda attempt: attempt.number))

    @property
    def are_open(self) -> bool:
        """True while a request is on its way."""
        return bool(self._flights)

    @property
    def is_alone(self) -> bool:
        """True while one request is on its way."""
        return len(self._flights) == 1

    @property
    def last_outcome(self) -> str:
        """The outcome of the last request to end."""
        return self._attempts[-1].outcome

    @property
    def newest(self) -> Flight:
        """The request that was sent last."""
        return self._flights[self.number]

    def send(self, now: float, delay: float) -> int:
        """Note that a request is sent, and return its number."""
        self.number += 1
        self._flights[self.number] = Flight(self.number, now, delay)
        return self.number

    def answered(self, number: int, status: int, outcome: str, now: float) -> None:
        """Note that a request has a response."""
        sent = self._met(number, outcome, now)
        if self._breaker is None:
            return
        if status in {429, 503}:  # a refusal
            self._breaker.abandoned(sent=sent)
        elif status >= 500:
            self._breaker.failed(now, is_connect=False, sent=sent)
        else:
            self._breaker.succeeded(now, sent=sent)

    def failed(self, number: int, fault: Fault, now: float) -> None:
        """Note that a request has failed."""
        sent = self._met(number, fault.value, now)
        if self._breaker is None:
            return
        if fault is Fault.POOL_TIMEOUT:  # the client's own doing
            self._breaker.abandoned(sent=sent)
        else:
            self._breaker.failed(now, is_connect=fault in _IS_CONNECT, sent=sent)

    def closed(self, number: int, fault: Fault, now: float) -> None:
        """Note that a request met the end of a kept connection, which says nothing about the endpoint."""
        sent = self._met(number, fault.value, now)
        if self._breaker is not None:
            self._breaker.abandoned(sent=sent)

    def hang_up(self, now: float) -> None:
        """Give up the requests that are still on their way."""
        for number in list(self._flights):
            sent = self._met(number, "overtaken", now)
            if self._breaker is not None:
                self._breaker.abandoned(sent=sent)

    def _met(self, number: int, outcome: str, now: float) -> float:
        flight = self._flights.pop(number)
        self._attempts.append(Attempt(number, outcome, now - flight.sent, flight.delay))
        return flight.sent


def send_command(spec: CallSpec, number: int, now: float, hedge_at: float) -> Send:
    """Return the command to send a request, with what is left of the call's time."""
    left = spec.deadline - now
    headers = dict(spec.headers)
    headers["x-penstock-attempt"] = str(number)
    if spec.request_id:
        headers["x-request-id"] = spec.request_id
    if left < math.inf and spec.sends_deadline:
        headers["x-request-timeout"] = f"{max(0.001, left - min(MARGIN, MARGIN * left)):.3f}"
    limits = spec.timeouts
    timeouts = {
        name: left if seconds is None and left < math.inf else None if seconds is None else min(seconds, left)
        for name, seconds in (
            ("connect", limits.connect),
            ("pool", limits.pool),
            ("write", limits.write),
            ("read", limits.first_byte),
        )
    }
    return Send(number, headers, timeouts, spec.deadline, hedge_at)
