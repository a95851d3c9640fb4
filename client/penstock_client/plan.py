"""The plan of one call, without input or output: events go in, commands come out.

The plan has no clock and no dice: ``now`` is an argument, and so is the source of randomness. A driver carries out each
command and reports what came of it, until the command is ``Give`` or ``Raise``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from penstock_client.call_records import CallRecord, HedgeRecord, Record, RetryRecord
from penstock_client.call_requests import CallRequests, send_command
from penstock_client.endpoint_breaker import Breaker
from penstock_client.errors import CircuitOpen, ClientError, LimitTimeout
from penstock_client.failures import error_of_fault, error_of_response
from penstock_client.hedging import Hedging
from penstock_client.limits import RateBucket
from penstock_client.plan_messages import (
    CallSpec,
    Command,
    Event,
    Give,
    HeadArrived,
    HedgeDue,
    Raise,
    RequestFailed,
    Send,
    Sleep,
    TimePassed,
    Wait,
)
from penstock_client.retry_judge import LEAST_SECONDS, RetryJudge
from penstock_client.retry_settings import Retries, RetryBudget
from penstock_client.retry_table import Fault, Row, Verdict, row_of_fault, row_of_status


def ignore(record: Record) -> None:
    """Do nothing with a record."""


class Plan:
    """The decisions of one call: what to send, how long to wait, when to give up.

    Parameters
    ----------
    spec:
        The call.
    retries:
        The limits on trying again.
    budget:
        The budget of all calls of the client.
    rand:
        Returns a random number from 0 to 1.
    breaker, rate:
        The breaker of the endpoint and the client's rate, if there are any.
    hedging:
        The experience with the endpoint's slow requests, if they may be sent a second time.
    notify:
        Receives the records.
    """

    def __init__(
        self,
        spec: CallSpec,
        retries: Retries,
        *,
        budget: RetryBudget,
        rand: Callable[[], float],
        breaker: Breaker | None = None,
        rate: RateBucket | None = None,
        hedging: Hedging | None = None,
        notify: Callable[[Record], None] = ignore,
    ) -> None:
        self._spec = spec
        self._retries = retries
        self._budget = budget
        self._rand = rand
        self._breaker = breaker
        self._rate = rate
        self._notify = notify
        self._hedging = hedging
        self._requests = CallRequests(breaker)
        self._judge = RetryJudge(spec, retries, budget, rand, breaker)
        self._began = 0.0
        self._raced = 0.0  # when the last request was sent that is not a hedge
        self._slow_after = math.inf
        self._delay = 0.0  # before the next request
        self._is_reserved = False  # the next request has its place in the rate
        self._free = 0  # requests that do not count
        self._may_have_run = False
        self._last: ClientError | None = None

    def start(self, now: float) -> Command:
        """Return the first command."""
        self._began = now
        self._budget.deposit()
        if self._hedging is not None:
            self._slow_after = self._hedging.begin()
        return self._proceed(now)

    def handle(self, event: Event, now: float, number: int = 0) -> Command:
        """Return the command that follows from what has happened.

        Parameters
        ----------
        event:
            The fact.
        now:
            The time.
        number:
            The request that it happened to; 0 for the last one.
        """
        if isinstance(event, TimePassed):
            return self._proceed(now)
        if isinstance(event, HedgeDue):
            return self._on_slow(now)
        number = number or self._requests.number
        if isinstance(event, RequestFailed):
            return self._on_failed(event, number, now)
        if event.status >= 300:
            return self._on_error_status(event, number, now)
        self._requests.answered(number, event.status, str(event.status), now)
        self._judge.give_back()
        if self._hedging is not None:
            self._hedging.observe(now - self._raced)
        self._notify_end("", now)
        return Give(self._requests.attempts)

    def abandon(self) -> None:
        """Note that the call was cancelled: whatever its requests would have met counts as nothing."""
        self._requests.hang_up(self._began)

    def fail(self, error: ClientError, now: float, *, refused: str = "") -> Raise:
        """Return the end of the call, with all that is known about it on the error."""
        error.request_id = error.request_id or self._spec.request_id
        error.may_have_run = error.may_have_run or self._may_have_run
        error.retries_refused = refused
        self._notify_end(error.code, now)
        error.attempts = self._requests.attempts
        return Raise(error)

    # ---- the next request

    def _proceed(self, now: float) -> Command:
        if self._spec.deadline - now < LEAST_SECONDS:
            error = error_of_fault(Fault.TOTAL_TIMEOUT, "")
            error.retryable = self._is_safe()
            return self.fail(error, now, refused="deadline")
        if self._rate is not None and not self._is_reserved:
            wait = self._rate.reserve(now, self._spec.deadline)
            if wait is None:
                return self._limited(now)
            self._is_reserved = True
            if wait > 0:
                self._delay += wait
                return Sleep(wait)
        if self._breaker is not None and (seconds := self._breaker.admit(now)):
            return self._blocked(seconds, now)
        self._raced = now
        return self._send(now, now + self._slow_after)

    def _send(self, now: float, hedge_at: float) -> Send:
        number = self._requests.send(now, self._delay)
        self._delay = 0.0
        self._is_reserved = False
        return send_command(self._spec, number, now, hedge_at)

    def _on_slow(self, now: float) -> Command:
        """Send the request a second time, if nothing forbids it."""
        if (
            self._hedging is None
            or self._tried >= self._retries.max_attempts
            or self._spec.deadline - now < LEAST_SECONDS
            or (self._breaker is not None and self._breaker.seconds_until_open(now))
            or not self._hedging.spend()
            or (self._rate is not None and self._rate.reserve(now, math.nextafter(now, math.inf)) is None)
            or not self._budget.spend(1, now)
        ):
            return Wait()
        slow = self._requests.newest
        self._notify(HedgeRecord(self._spec.endpoint, self._spec.request_id, slow.number, now - slow.sent))
        return self._send(now, math.inf)

    def _limited(self, now: float) -> Raise:
        error = self._last or LimitTimeout("the client's rate leaves no time to send the request before its deadline")
        error.retryable = error.retryable or self._is_safe()
        return self.fail(error, now, refused="deadline")

    def _blocked(self, seconds: float, now: float) -> Raise:
        error = self._last
        if error is None:
            error = CircuitOpen(
                f"{self._spec.endpoint} has failed too often; the next request is sent in {seconds:.1f} s"
            )
            error.retryable = True
            error.retry_after = seconds
        return self.fail(error, now, refused="breaker")

    # ---- what a request met

    def _on_failed(self, event: RequestFailed, number: int, now: float) -> Command:
        row = row_of_fault(event.fault)
        may_have_run = event.is_sent if event.fault is Fault.TOTAL_TIMEOUT else row.may_have_run
        error = error_of_fault(event.fault, event.detail)
        error.partial = event.partial
        if event.is_reused and not self._free and self._requests.is_alone and self._is_closing(event.fault):
            self._may_have_run = self._may_have_run or may_have_run
            self._free = 1
            self._last = error
            self._requests.closed(number, event.fault, now)
            return self._again(event.fault.value, 0.0, now)
        self._requests.failed(number, event.fault, now)
        return self._decide(error, row, may_have_run=may_have_run, says=None, now=now)

    def _is_closing(self, fault: Fault) -> bool:
        return fault is Fault.UNSENT or (fault is Fault.LOST and self._spec.is_idempotent)

    def _on_error_status(self, event: HeadArrived, number: int, now: float) -> Command:
        error = error_of_response(event.status, event.headers, event.body)
        error.request_id = event.headers.get("x-request-id", "")
        row = row_of_status(event.status, error.server_code)
        self._requests.answered(number, event.status, f"{event.status} {error.server_code}".rstrip(), now)
        says = {"true": True, "false": False}.get(event.headers.get("x-should-retry", "").lower())
        # A server that allows a retry says that the work has not run, or may run twice; one that forbids it, neither.
        may_have_run = row.may_have_run and says is not True
        return self._decide(error, row, may_have_run=may_have_run, says=says, now=now)

    def _decide(self, error: ClientError, row: Row, *, may_have_run: bool, says: bool | None, now: float) -> Command:
        self._may_have_run = self._may_have_run or may_have_run
        may = self._judge.allows(row) if says is None else says
        error.retryable = self._is_safe() if row.faults else may and row.verdict is not Verdict.NEW_KEY_ONCE
        if self._requests.are_open and (may or row.faults):
            self._last = error
            return Wait()
        refused, delay = self._judge.retry(row, error.retry_after, self._tried, now) if may else ("rule", 0.0)
        if refused:
            return self.fail(error, now, refused=refused)
        self._last = error
        return self._again(self._requests.last_outcome, delay, now)

    @property
    def _tried(self) -> int:
        return self._requests.number - self._free

    def _is_safe(self) -> bool:
        return self._spec.is_idempotent or not self._may_have_run

    def _again(self, reason: str, delay: float, now: float) -> Command:
        self._notify(RetryRecord(self._spec.endpoint, self._spec.request_id, self._requests.number, reason, delay))
        self._delay = delay
        return Sleep(delay) if delay > 0 else self._proceed(now)

    def _notify_end(self, code: str, now: float) -> None:
        self._requests.hang_up(now)
        number = self._requests.number
        self._notify(CallRecord(self._spec.endpoint, self._spec.request_id, code, now - self._began, number))
