"""The plan of a call, on a moved clock: each row of the retry table, the deadline, the budget, the breaker."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from penstock_client import errors
from penstock_client.call_records import CallRecord, Record, RetryRecord
from penstock_client.endpoint_breaker import Breaker, BreakerSettings
from penstock_client.errors import ClientError
from penstock_client.limits import RateBucket
from penstock_client.plan import Plan
from penstock_client.plan_messages import (
    CallSpec,
    Command,
    Event,
    Give,
    HeadArrived,
    Raise,
    RequestFailed,
    Send,
    Sleep,
    TimePassed,
)
from penstock_client.retry_settings import Retries, RetryBudget
from penstock_client.retry_table import ROWS, Fault, Row, Verdict, row_of_fault, row_of_status
from penstock_client.timeouts import Timeouts


class Clocked:
    """A plan with its clock: waits are over at once, and each request takes a tenth of a second."""

    def __init__(self, *, rand: float = 1.0, total: float | None = None, **options: Any) -> None:
        self.now = 1000.0
        self.sent: list[Send] = []
        self.slept: list[float] = []
        self.records: list[Record] = []
        policy = options.pop("retries", Retries())
        self.budget = options.pop("budget", None) or RetryBudget(policy, self.now)
        others = {name: options.pop(name) for name in ("breaker", "rate") if name in options}
        options.setdefault("timeouts", Timeouts())
        spec = CallSpec(
            endpoint="classify",
            request_id="r1",
            deadline=math.inf if total is None else self.now + total,
            **options,
        )
        self.plan = Plan(spec, policy, budget=self.budget, rand=lambda: rand, notify=self.records.append, **others)

    def run(self, *events: Event, seconds: float = 0.1) -> Command:
        """Answer each request with the next event, the last one again and again; return the last command."""
        command = self.plan.start(self.now)
        left = list(events)
        while isinstance(command, Send | Sleep):
            if isinstance(command, Send):
                self.sent.append(command)
                self.now += seconds
                command = self.plan.handle(left.pop(0) if len(left) > 1 else left[0], self.now)
            else:
                self.slept.append(command.seconds)
                self.now += command.seconds
                command = self.plan.handle(TimePassed(), self.now)
        return command

    def error(self, *events: Event, seconds: float = 0.1) -> ClientError:
        command = self.run(*events, seconds=seconds)
        assert isinstance(command, Raise)
        return command.error


def head(status: int, code: str = "", headers: Mapping[str, str] | None = None) -> HeadArrived:
    body = f'{{"type": "urn:penstock:{code}", "detail": "because"}}' if code else ""
    return HeadArrived(status, headers or {}, body.encode())


GOOD = head(200)


def met(row: Row) -> Event:
    """Return an event that the row is for."""
    if row.faults:
        return RequestFailed(row.faults[0])
    statuses = row.statuses or ((599,) if row is ROWS[-2] else (404,))
    return head(statuses[0], row.codes[0] if row.codes else "")


def requests_for(verdict: Verdict, *, is_idempotent: bool, has_new_keys: bool) -> int:
    return {
        Verdict.ALWAYS: 3,
        Verdict.IDEMPOTENT: 3 if is_idempotent else 1,
        Verdict.IDEMPOTENT_ONCE: 2 if is_idempotent else 1,
        Verdict.NEW_KEY_ONCE: 2 if has_new_keys else 1,
        Verdict.NEVER: 1,
    }[verdict]


# ---- the table


@pytest.mark.parametrize("is_idempotent", [False, True], ids=["once", "idempotent"])
@pytest.mark.parametrize("has_new_keys", [False, True], ids=["key", "keys"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)
def test_a_row_decides_how_often_a_request_is_sent(row: Row, *, is_idempotent: bool, has_new_keys: bool) -> None:
    """Each row is obeyed, by a call that may run twice and by one that may not."""
    clocked = Clocked(is_idempotent=is_idempotent, has_new_keys=has_new_keys)
    error = clocked.error(met(row))
    assert len(clocked.sent) == requests_for(row.verdict, is_idempotent=is_idempotent, has_new_keys=has_new_keys)
    assert error.may_have_run == row.may_have_run
    assert [attempt.number for attempt in error.attempts] == list(range(1, len(clocked.sent) + 1))


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_has_one_row(fault: Fault) -> None:
    """No fault is without a judgement, and none has two."""
    assert [row for row in ROWS if fault in row.faults] == [row_of_fault(fault)]


@pytest.mark.parametrize("status", range(300, 600))
def test_each_error_status_has_a_row(status: int) -> None:
    """A status that no row names is not tried again."""
    row = row_of_status(status, "")
    assert status in row.statuses or (row.verdict is Verdict.NEVER and not row.statuses)


def test_a_lost_worker_is_not_a_refusal() -> None:
    """503 ``worker-lost`` ran, unlike every other 503."""
    error = Clocked().error(head(503, "worker-lost"))
    assert (type(error), error.may_have_run, error.retryable) == (errors.WorkerLost, True, False)


@pytest.mark.parametrize("status", [404, 500, 502, 504])
def test_the_header_true_beats_the_status(status: int) -> None:
    """``x-should-retry: true`` makes a server's word final: the work has not run, or may run twice."""
    clocked = Clocked()
    assert isinstance(clocked.run(head(status, headers={"x-should-retry": "true"}), GOOD), Give)
    assert len(clocked.sent) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_the_header_false_beats_the_status(status: int) -> None:
    """``x-should-retry: false`` forbids it, whatever the status."""
    error = Clocked().error(head(status, headers={"x-should-retry": "false"}))
    assert (len(error.attempts), error.retryable, error.retries_refused) == (1, False, "rule")


@pytest.mark.parametrize("fault", Fault)
def test_what_is_safe_may_be_called_again(fault: Fault) -> None:
    """After any fault, a call that may run twice may be made again; another one only if it has not run."""
    assert Clocked(is_idempotent=True).error(RequestFailed(fault)).retryable
    error = Clocked().error(RequestFailed(fault))
    assert error.retryable is not error.may_have_run


def test_what_ran_in_any_request_may_have_run() -> None:
    """The first request may have done the work, although the second never left."""
    error = Clocked(is_idempotent=True).error(RequestFailed(Fault.LOST), RequestFailed(Fault.CONNECT))
    assert error.may_have_run


# ---- connections that were closing


def test_a_closing_connection_costs_nothing() -> None:
    """A request that met the end of a kept connection is sent once more, at once, beside budget and limit."""
    retries = Retries(max_attempts=1, floor=0)
    clocked = Clocked(retries=retries)
    assert isinstance(clocked.run(RequestFailed(Fault.UNSENT, is_reused=True), GOOD), Give)
    assert clocked.slept == []


def test_a_closing_connection_is_forgiven_once() -> None:
    """The second one counts like any other."""
    error = Clocked(retries=Retries(max_attempts=1)).error(RequestFailed(Fault.UNSENT, is_reused=True))
    assert len(error.attempts) == 2


@pytest.mark.parametrize(("is_idempotent", "requests"), [(False, 1), (True, 2)])
def test_a_request_sent_on_a_closing_connection_may_have_run(*, is_idempotent: bool, requests: int) -> None:
    """It was sent whole, so only a call that may run twice is sent again."""
    clocked = Clocked(retries=Retries(max_attempts=1), is_idempotent=is_idempotent)
    error = clocked.error(RequestFailed(Fault.LOST, is_reused=True))
    assert (len(clocked.sent), error.may_have_run) == (requests, True)


# ---- waits


def test_the_wait_is_a_random_part_of_a_growing_one() -> None:
    """Full jitter: ``rand * min(cap, base * 2 ** n)``."""
    clocked = Clocked(rand=0.5, retries=Retries(max_attempts=7, floor=100))
    clocked.error(head(503))
    assert clocked.slept == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0]


def test_retry_after_replaces_the_wait() -> None:
    """The server's own time, and up to a tenth more."""
    clocked = Clocked(rand=1.0)
    clocked.run(head(429, headers={"retry-after": "2"}), GOOD)
    assert clocked.slept == [pytest.approx(2.2)]


def test_retry_after_may_be_a_date() -> None:
    """It is read beside the response's own date, so no clock is needed."""
    dates = {"retry-after": "Wed, 21 Oct 2026 07:28:05 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    clocked = Clocked(rand=0.0)
    clocked.run(head(503, headers=dates), GOOD)
    assert clocked.slept == [5.0]


@pytest.mark.parametrize("text", ["", "soon", "nan", "-", "Wed, 99 Oct"])
def test_an_unreadable_retry_after_is_ignored(text: str) -> None:
    """The call waits as if there were none."""
    clocked = Clocked(rand=1.0)
    clocked.run(head(503, headers={"retry-after": text}), GOOD)
    assert clocked.slept == [0.5]


def test_a_long_retry_after_ends_the_call() -> None:
    """Nothing waits for minutes unasked; the error says how long the server wants."""
    error = Clocked().error(head(503, headers={"retry-after": "121"}))
    assert (error.retries_refused, error.retry_after, error.retryable) == ("retry-after", 121.0, True)


# ---- the deadline


def test_total_bounds_all_requests() -> None:
    """The whole call, with its waits and retries, ends before its time-out."""
    clocked = Clocked(total=2.0, is_idempotent=True, retries=Retries(max_attempts=50, floor=1000))
    error = clocked.error(RequestFailed(Fault.LOST), seconds=0.3)
    assert clocked.now <= 1002.0
    assert error.retries_refused == "deadline"


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    """A ``Retry-After`` that leaves no time ends the call at once, with the server's error."""
    clocked = Clocked(total=2.0)
    error = clocked.error(head(503, "queue-full", {"retry-after": "3"}))
    assert clocked.slept == []
    assert (type(error), error.retries_refused) == (errors.QueueFull, "deadline")


def test_each_request_takes_what_is_left() -> None:
    """The server learns the time left, a little less than it is, and no phase may take longer."""
    clocked = Clocked(total=10.0, rand=0.0)
    clocked.run(head(503), GOOD, seconds=6.0)
    assert [send.headers["x-request-timeout"] for send in clocked.sent] == ["9.950", "3.950"]
    assert clocked.sent[0].timeouts == {"connect": 5.0, "pool": 5.0, "write": 10.0, "read": 10.0}
    assert clocked.sent[1].timeouts == {"connect": 4.0, "pool": 4.0, "write": 4.0, "read": 4.0}


def test_without_a_deadline_nothing_is_announced() -> None:
    """No ``X-Request-Timeout``, and a phase without a time-out is unlimited."""
    clocked = Clocked()
    clocked.run(GOOD)
    assert "x-request-timeout" not in clocked.sent[0].headers
    assert clocked.sent[0].timeouts["read"] is None


def test_a_call_without_time_sends_nothing() -> None:
    """With the deadline passed, there is no request at all."""
    clocked = Clocked(total=0.001)
    error = clocked.error(GOOD)
    assert clocked.sent == []
    assert (type(error), error.may_have_run, error.attempts) == (errors.TotalTimeout, False, ())


@pytest.mark.parametrize("is_sent", [False, True])
def test_a_total_timeout_knows_whether_the_request_left(*, is_sent: bool) -> None:
    """Time that ran out while connecting has started nothing."""
    error = Clocked().error(RequestFailed(Fault.TOTAL_TIMEOUT, is_sent=is_sent))
    assert (error.may_have_run, error.retryable) == (is_sent, not is_sent)


# ---- the budget


def test_an_empty_budget_ends_the_call() -> None:
    """The error is the server's, and says that the budget was the reason."""
    retries = Retries(floor=1, rate=0.0, ratio=0.0)
    error = Clocked(retries=retries).error(head(503))
    assert (len(error.attempts), error.retries_refused) == (2, "budget")


def test_a_timeout_costs_two() -> None:
    """A retry after a time-out is twice as expensive as one after a refusal."""
    retries = Retries(floor=10, rate=0.0, ratio=0.0, max_attempts=2)
    costs = []
    for event in (head(503), RequestFailed(Fault.CONNECT_TIMEOUT)):
        clocked = Clocked(retries=retries)
        clocked.error(event)
        costs.append(10 - clocked.budget.tokens)
    assert costs == [1, 2]


def test_a_success_gives_back() -> None:
    """A retry that was worth it is free."""
    clocked = Clocked(retries=Retries(rate=0.0, ratio=0.0))
    clocked.run(RequestFailed(Fault.CONNECT_TIMEOUT), GOOD)
    assert clocked.budget.tokens == 10


def test_an_outage_is_not_made_worse() -> None:
    """When all of 1,000 calls within ten seconds fail, at most a tenth are retried, and the floor and the rate."""
    retries = Retries()
    budget = RetryBudget(retries, 1000.0)
    requests = 0
    for number in range(1000):
        clocked = Clocked(budget=budget, rand=0.0)
        clocked.now += number * 0.01
        clocked.error(head(503), seconds=0.0)
        requests += len(clocked.sent)
    assert requests <= 1000 + 100 + retries.floor + 10 * retries.rate


# ---- breaker and rate


def test_an_open_breaker_sends_nothing() -> None:
    """The error says after how long there will be a request."""
    breaker = Breaker(BreakerSettings())
    for _ in range(5):
        breaker.failed(1000.0, is_connect=True)
    clocked = Clocked(breaker=breaker)
    error = clocked.error(GOOD)
    assert (type(error), error.retry_after, clocked.sent) == (errors.CircuitOpen, 5.0, [])


def test_a_breaker_that_opens_ends_the_retries() -> None:
    """The call fails with what its last request met."""
    breaker = Breaker(BreakerSettings(calls=2))
    error = Clocked(breaker=breaker, is_idempotent=True, rand=0.0).error(head(502))
    assert (error.retries_refused, len(error.attempts)) == ("breaker", 2)


def test_refusals_open_no_breaker() -> None:
    """429 and 503 are answers of a healthy server under load."""
    breaker = Breaker(BreakerSettings(calls=1))
    Clocked(breaker=breaker).error(head(503))
    Clocked(breaker=breaker).error(head(429))
    assert breaker.seconds_until_open(1000.0) == 0.0


def test_a_rate_delays_a_request() -> None:
    """Each request waits for its place."""
    rate = RateBucket(2.0, burst=1)
    waits = []
    for _ in range(3):
        clocked = Clocked(rate=rate)
        clocked.run(GOOD, seconds=0.0)
        waits.append(clocked.slept)
    assert waits == [[], [0.5], [1.0]]


def test_a_rate_without_time_is_an_error_of_its_own() -> None:
    """The wait for the rate draws on the deadline, and takes no place if it is too long."""
    rate = RateBucket(1.0, burst=1)
    Clocked(rate=rate).run(GOOD)
    error = Clocked(rate=rate, total=0.5).error(GOOD)
    assert (type(error), error.retryable, error.may_have_run) == (errors.LimitTimeout, True, False)
    assert rate.reserve(1000.0, math.inf) == 1.0


# ---- what is sent, and what is known


def test_each_request_says_which_it_is() -> None:
    """The number of the request, the id of the call and its key are the same words on each."""
    clocked = Clocked(headers={"idempotency-key": "k"}, is_idempotent=True)
    clocked.run(head(502), GOOD)
    assert [send.headers["x-penstock-attempt"] for send in clocked.sent] == ["1", "2"]
    assert {(send.headers["x-request-id"], send.headers["idempotency-key"]) for send in clocked.sent} == {("r1", "k")}


def test_an_error_knows_every_request() -> None:
    """It lists the outcome, the duration and the wait of each."""
    error = Clocked(rand=1.0).error(head(503, "queue-full"), RequestFailed(Fault.CONNECT), head(429))
    known = [(one.outcome, round(one.seconds, 3), one.delay) for one in error.attempts]
    assert known == [("503 queue-full", 0.1, 0.0), ("connection-failed", 0.1, 0.5), ("429", 0.1, 1.0)]


def test_the_records_tell_the_story() -> None:
    """One for each retry, and one at the end."""
    clocked = Clocked(rand=1.0)
    clocked.run(head(503, "queue-full"), GOOD)
    assert clocked.records == [
        RetryRecord("classify", "r1", 1, "503 queue-full", 0.5),
        CallRecord("classify", "r1", "", pytest.approx(0.7), 2),
    ]


def test_a_cancelled_probe_lets_another_one_try() -> None:
    """A call that was cancelled counts as nothing for the breaker."""
    breaker = Breaker(BreakerSettings())
    for _ in range(5):
        breaker.failed(990.0, is_connect=True)
    clocked = Clocked(breaker=breaker)
    assert isinstance(clocked.plan.start(1000.0), Send)
    assert breaker.seconds_until_open(1000.0) > 0
    clocked.plan.abandon()
    assert breaker.seconds_until_open(1000.0) == 0.0
