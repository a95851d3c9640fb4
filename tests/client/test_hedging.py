"""Hedging: a slow request is sent a second time, on a moved clock and against servers."""

from __future__ import annotations

import gc
import math
import time
from typing import Any

import anyio
import pytest

from penstock_client import AsyncClient, BreakerSettings, Hedge, HedgeRecord, Limits, Retries, errors
from penstock_client.call_records import CallRecord, Record
from penstock_client.endpoint_breaker import Breaker
from penstock_client.hedging import BURST, FEWEST, KEPT, Hedging
from penstock_client.limits import RateBucket
from penstock_client.plan import Plan
from penstock_client.plan_messages import CallSpec, Give, HeadArrived, HedgeDue, Raise, RequestFailed, Send, Wait
from penstock_client.retry_settings import RetryBudget
from penstock_client.retry_table import Fault
from penstock_client.timeouts import Timeouts
from tests.client.scripted_server import End, ScriptedServer, Step, answer, chunked
from tests.serving import wait_until

LOOPS = ("asyncio", "trio")
SLOW = 0.3  # seconds; the first request has arrived by then, even on a busy machine
GOOD = HeadArrived(200, {})
SILENT: tuple[Step, ...] = (End.SILENCE,)


class Racing:
    """A plan of an endpoint whose requests are slow after 0.2 s."""

    def __init__(self, *, began: float = 0.0, total: float = math.inf, budget: int = 10, **options: Any) -> None:
        self.records: list[Record] = []
        self.retries = options.pop("retries", Retries(floor=budget, ratio=0.0, rate=0.0))
        self.budget = RetryBudget(self.retries, began)
        self.hedging = options.pop("hedging", None) or Hedging(Hedge(after=0.2))
        self.plan = Plan(
            CallSpec(endpoint="classify", timeouts=Timeouts(), deadline=total, is_idempotent=True),
            self.retries,
            budget=self.budget,
            rand=lambda: 0.0,
            hedging=self.hedging,
            notify=self.records.append,
            **options,
        )
        self.first = self.plan.start(began)
        assert isinstance(self.first, Send)


# ---- the plan


def test_a_slow_request_is_sent_a_second_time_and_the_quicker_answer_counts() -> None:
    """The hedge has the next number; the first request is listed as overtaken."""
    race = Racing()
    assert race.first.hedge_at == 0.2
    hedge = race.plan.handle(HedgeDue(), 0.2)
    assert isinstance(hedge, Send)
    assert (hedge.number, hedge.hedge_at, hedge.headers["x-penstock-attempt"]) == (2, math.inf, "2")
    given = race.plan.handle(GOOD, 0.5, hedge.number)
    assert isinstance(given, Give)
    assert [(each.number, each.outcome) for each in given.attempts] == [(1, "overtaken"), (2, "200")]
    assert [each.seconds for each in given.attempts] == pytest.approx([0.5, 0.3])
    assert race.records == [HedgeRecord("classify", "", 1, 0.2), CallRecord("classify", "", "", 0.5, 2)]


def test_the_first_request_may_still_win() -> None:
    """The hedge is listed as overtaken."""
    race = Racing()
    race.plan.handle(HedgeDue(), 0.2)
    given = race.plan.handle(GOOD, 0.3, 1)
    assert isinstance(given, Give)
    assert [each.outcome for each in given.attempts] == ["200", "overtaken"]


FAILURES = {
    "a refusal": HeadArrived(503, {}),
    "a failed connection": RequestFailed(Fault.CONNECT),
    "a lost connection": RequestFailed(Fault.LOST),
    "a response that breaks off": RequestFailed(Fault.CUT),
    "the end of a kept connection": RequestFailed(Fault.LOST, is_reused=True),
}


@pytest.mark.parametrize("failed", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("number", [1, 2])
def test_the_other_request_is_waited_for(number: int, failed: HeadArrived | RequestFailed) -> None:
    """A failure after which a retry is allowed does not end the race: the other request is that retry."""
    race = Racing()
    race.plan.handle(HedgeDue(), 0.2)
    assert race.plan.handle(failed, 0.3, number) == Wait()
    assert isinstance(race.plan.handle(GOOD, 0.4, 3 - number), Give)


def test_an_answer_that_no_retry_would_change_ends_the_race() -> None:
    """A 422 of either request is the answer of the call."""
    race = Racing()
    race.plan.handle(HedgeDue(), 0.2)
    raised = race.plan.handle(HeadArrived(422, {}), 0.3, 2)
    assert isinstance(raised, Raise)
    assert [each.outcome for each in raised.error.attempts] == ["overtaken", "422"]


def test_when_both_fail_the_call_is_tried_again_within_its_limit() -> None:
    """A hedge is one of the three requests of a call."""
    race = Racing()
    race.plan.handle(HedgeDue(), 0.2)
    assert race.plan.handle(HeadArrived(503, {}), 0.3, 1) == Wait()
    third = race.plan.handle(HeadArrived(503, {}), 0.4, 2)
    assert isinstance(third, Send)
    assert third.number == 3
    assert race.plan.handle(HedgeDue(), 0.6) == Wait()
    raised = race.plan.handle(HeadArrived(503, {}), 0.7, 3)
    assert isinstance(raised, Raise)
    assert raised.error.retries_refused == "attempts"
    assert len(raised.error.attempts) == 3


def spent(hedging: Hedging) -> Hedging:
    while hedging.spend():
        pass
    return hedging


def opened(breaker: Breaker) -> Breaker:
    for _ in range(5):
        breaker.failed(0.1, is_connect=True)
    return breaker


REFUSALS: dict[str, dict[str, Any]] = {
    "its own budget is spent": {"hedging": spent(Hedging(Hedge(after=0.2, budget=0.001)))},
    "the budget of retries is spent": {"budget": 0},
    "the deadline is there": {"total": 0.202},
    "one request is the most": {"retries": Retries(max_attempts=1)},
    "the rate has no place": {"rate": RateBucket(1.0, 1)},
}


@pytest.mark.parametrize("options", REFUSALS.values(), ids=REFUSALS)
def test_a_hedge_is_refused_where_a_retry_would_be(options: dict[str, Any]) -> None:
    """Then the first request is waited for."""
    race = Racing(**options)
    assert race.plan.handle(HedgeDue(), 0.2) == Wait()
    assert isinstance(race.plan.handle(GOOD, 0.3), Give)


def test_an_open_breaker_refuses_a_hedge() -> None:
    """While the first request was on its way, others have failed."""
    breaker = Breaker(BreakerSettings())
    race = Racing(breaker=breaker)
    opened(breaker)
    assert race.plan.handle(HedgeDue(), 0.2) == Wait()


def test_a_hedge_costs_a_retry_for_good() -> None:
    """The budget that all calls share pays for it, and has nothing back when the call succeeds."""
    race = Racing()
    race.plan.handle(HedgeDue(), 0.2)
    race.plan.handle(GOOD, 0.3, 2)
    assert race.budget.tokens == 9.0


def test_an_overtaken_probe_leaves_the_breaker_able_to_probe() -> None:
    """A request that was given up has no outcome: the next one is the probe."""
    breaker = opened(Breaker(BreakerSettings()))
    race = Racing(breaker=breaker, began=6.0)
    race.plan.handle(HedgeDue(), 6.2)
    race.plan.abandon()
    assert breaker.admit(6.3) == 0.0


# ---- when a request is slow


def test_a_percentile_needs_enough_requests() -> None:
    """Nothing is known about an endpoint until twenty requests have ended."""
    hedging = Hedging(Hedge(after="p95"))
    for _ in range(FEWEST - 1):
        hedging.observe(0.1)
    assert hedging.begin() == math.inf
    hedging.observe(0.1)
    assert hedging.begin() == 0.1


def test_a_percentile_is_that_of_the_last_requests() -> None:
    """95 of 100 are quicker; those before the last 200 are forgotten."""
    hedging = Hedging(Hedge(after="p95"))
    for number in range(1000):
        hedging.observe(1000.0 - number)
    for number in range(KEPT):
        hedging.observe(float(number))
    assert hedging.begin() == 190.0


def test_the_budget_is_a_share_of_the_calls() -> None:
    """One hedge at the start, then one in fifty calls, with no more than five saved up."""
    hedging = Hedging(Hedge(after=0.2, budget=0.02))
    assert hedging.spend()
    spends = []
    for _ in range(100):
        hedging.begin()
        spends.append(hedging.spend())
    assert sum(spends) in {1, 2}
    for _ in range(1000):
        hedging.begin()
    saved = 0
    while hedging.spend():
        saved += 1
    assert saved == BURST


@pytest.mark.parametrize("after", [0, -1.0, math.nan, math.inf, "p95.", "95", "p100", "p5", "slow", None])
def test_a_hedge_needs_seconds_or_a_percentile(after: Any) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ValueError, match="give seconds above 0, or a percentile"):
        Hedge(after=after)


@pytest.mark.parametrize("budget", [0, -0.1, 1.5, math.nan])
def test_the_budget_of_hedges_is_a_share(budget: float) -> None:
    """It is above 0 and at most 1."""
    with pytest.raises(ValueError, match="give a share of the calls"):
        Hedge(budget=budget)


# ---- the driver


def hedged(loop: str, scripts: list[tuple[Step, ...]], **options: Any) -> tuple[Any, ScriptedServer, list[Record]]:
    """Make one call whose requests are slow after 0.3 s, or ``after``; return its result or error."""
    records: list[Record] = []

    async def main(url: str) -> Any:
        async with AsyncClient(url, hedge=Hedge(after=after), on_event=records.append, **settings) as client:
            try:
                return await client.call("classify", {}, **{"idempotent": True, "timeout": 5.0, **options})
            except errors.ClientError as error:
                return error

    settings, after = options.pop("settings", {}), options.pop("after", SLOW)
    with ScriptedServer(scripts) as server:
        outcome = anyio.run(main, server.url, backend=loop)
        return outcome, server, records


@pytest.mark.parametrize("loop", LOOPS)
def test_the_loser_is_hung_up(loop: str) -> None:
    """The server that has not answered sees the end of its connection while the call ends with the other's answer."""
    result, server, _ = hedged(loop, [SILENT, (answer(b'"quick"'),)])
    assert result.value == "quick"
    assert [each.outcome for each in result.attempts] == ["overtaken", "200"]
    wait_until(lambda: len(server.hang_ups) == 1, "the first request is hung up")
    assert [request.headers["x-penstock-attempt"] for request in server.requests] == ["1", "2"]
    assert len({request.headers["x-request-id"] for request in server.requests}) == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_a_quick_answer_has_no_hedge(loop: str) -> None:
    """One request is sent."""
    result, server, records = hedged(loop, [(answer(b"1"),)], after=5.0)
    assert result.value == 1
    assert len(server.requests) == 1
    assert [type(record) for record in records] == [CallRecord]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "options",
    [{"idempotent": False}, {"idempotent": False, "idempotency_key": "k"}, {"idempotent": False, "method": "PUT"}],
)
def test_only_work_that_may_run_twice_at_once_is_hedged(loop: str, options: dict[str, Any]) -> None:
    """Neither a POST, nor a key that the server would refuse the second time, nor a PUT that would meet itself."""
    result, server, _ = hedged(loop, [(2 * SLOW, answer(b"1"))], **options)
    assert result.value == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_a_get_is_hedged(loop: str) -> None:
    """A safe method needs no word from the caller."""
    result, server, _ = hedged(loop, [SILENT, (answer(b"1"),)], idempotent=False, method="GET")
    assert result.value == 1
    assert len(server.requests) == 2


@pytest.mark.timed
@pytest.mark.parametrize("loop", LOOPS)
def test_the_deadline_bounds_both_requests(loop: str) -> None:
    """Two silent servers: the call ends on time, and both see the end of their connections."""
    began = time.monotonic()
    error, server, _ = hedged(loop, [SILENT, SILENT], timeout=8 * SLOW)
    assert isinstance(error, errors.TotalTimeout)
    assert time.monotonic() - began < 4.0
    wait_until(lambda: len(server.hang_ups) == 2, "both requests are hung up")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_body_that_stalls_is_overtaken(loop: str) -> None:
    """The race is to the end of a whole answer, not to its head."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n1"
    result, server, _ = hedged(loop, [(head, End.SILENCE), (answer(b"2"),)])
    assert result.value == 2
    wait_until(lambda: len(server.hang_ups) == 1, "the stalled response is hung up")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stream_that_does_not_begin_is_overtaken(loop: str) -> None:
    """The first stream to begin is the one that is read; it is not tied to the race any more."""

    async def main(url: str) -> tuple[list[Any], list[str]]:
        async with AsyncClient(url, hedge=Hedge(after=SLOW)) as client:
            async with client.stream("write", {}, idempotent=True, timeout=5.0) as events:
                found = [event async for event in events]
            return found, [each.outcome for each in events.attempts]

    with ScriptedServer([SILENT, (chunked(b"1\n", end=False), 0.1, b"2\r\n2\n\r\n0\r\n\r\n")]) as server:
        found, outcomes = anyio.run(main, server.url, backend=loop)
        wait_until(lambda: len(server.hang_ups) == 1, "the first request is hung up")
    assert found == [1, 2]
    assert outcomes == ["overtaken", "200"]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_cancelled_call_hangs_up_on_both(loop: str) -> None:
    """Nothing is left of a call that its caller gives up: no request, no connection in use, no probe."""

    async def main(url: str) -> None:
        async with AsyncClient(url, hedge=Hedge(after=SLOW)) as client:
            with anyio.move_on_after(3 * SLOW):
                await client.call("classify", {}, idempotent=True)
            pool = client._shared.http._transport._pool  # type: ignore[attr-defined]
            assert not [each for each in pool.connections if not each.is_idle() and not each.is_closed()]

    with ScriptedServer([SILENT, SILENT]) as server:
        anyio.run(main, server.url, backend=loop)
        wait_until(lambda: len(server.hang_ups) == 2, "both requests are hung up")


@pytest.mark.parametrize("loop", LOOPS)
def test_an_exception_of_the_callers_own_is_not_wrapped(loop: str) -> None:
    """A key function that raises is seen as it is, not in a group of exceptions."""

    def key() -> str:
        raise LookupError("no key")

    async def main(url: str) -> None:
        async with AsyncClient(url, hedge=Hedge(after=SLOW), key=key) as client:
            with pytest.raises(LookupError, match="no key"):
                await client.call("classify", {}, idempotent=True)

    with ScriptedServer([SILENT]) as server:
        anyio.run(main, server.url, backend=loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_many_hedged_calls_leave_nothing_behind(loop: str) -> None:
    """Thirty calls run at a time, and about half are slow. All are answered, and no connection is in use at the end."""

    async def main(url: str) -> tuple[int, int]:
        hedge = Hedge(after=0.05, budget=1.0)
        async with AsyncClient(
            url, hedge=hedge, retries=Retries(floor=1000), limits=Limits(max_connections=300)
        ) as client:
            values: list[Any] = []

            async def one() -> None:
                values.append((await client.call("classify", {}, idempotent=True, timeout=20.0)).value)

            for _ in range(3):
                async with anyio.create_task_group() as tasks:
                    for _ in range(30):
                        tasks.start_soon(one)
            pool = client._shared.http._transport._pool  # type: ignore[attr-defined]
            gc.collect()
            return len(values), sum(not each.is_idle() for each in pool.connections)

    with ScriptedServer([*[(0.12, answer(b"1")), (answer(b"2"),)] * 60, (answer(b"3"),)]) as server:
        assert anyio.run(main, server.url, backend=loop) == (90, 0)
