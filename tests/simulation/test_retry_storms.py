"""The client's plan and the server's scheduler in one simulation: rules that hold through outages and retry storms."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest

from penstock_client.plan_messages import HeadArrived, Sleep, TimePassed
from tests.simulation.retry_judge import Cell, judge_all, judged, longest_recovery, our_client

from retry_policies import POLICIES, CallFacts  # isort: skip - found by name once the judge has been imported
from retry_servers import CAPACITY, MEAN_SECONDS, WORKERS  # isort: skip - the same
from retry_simulation import OUTAGES, Simulation  # isort: skip - the same

SCENARIOS = 60
CALM = Cell(policy=our_client, load=0.7, outage_seconds=5.0, after=40.0)


def test_every_rule_holds_in_every_scenario() -> None:
    """Random loads, outages, servers, settings and callers who leave: the judge finds nothing."""
    judge_all(0, SCENARIOS)


@pytest.mark.soak
def test_every_rule_holds_for_long() -> None:
    """The same, for some minutes, with other seeds."""
    judge_all(10_000, 1000)


def test_a_seed_decides_everything() -> None:
    """The same seed has the same outcome; another one does not. The global dice are left as they were."""
    state = random.getstate()
    cell = replace(CALM, outage="refused", load=1.1, after=10.0)
    assert Simulation(cell).run() == Simulation(cell).run()
    assert Simulation(cell).run() != Simulation(replace(cell, seed=2)).run()
    assert random.getstate() == state


def test_the_simulation_agrees_with_queueing_theory() -> None:
    """Without an outage, a plain queue answers after the mean time of Erlang's formula for four workers (M/M/4)."""
    simulation = Simulation(replace(CALM, server="fifo", outage_seconds=0.0, after=400.0))
    simulation.run()
    busy = CALM.load * WORKERS
    waiting = busy**WORKERS / math.factorial(WORKERS) / (1 - CALM.load)
    share = waiting / (waiting + sum(busy**n / math.factorial(n) for n in range(WORKERS)))
    expected = MEAN_SECONDS + share / (CAPACITY * (1 - CALM.load))
    times = [call.answered - call.arrived for call in simulation.calls if call.answered < math.inf]
    assert statistics.fmean(times) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("seconds", [2.0, 10.0])
def test_the_goodput_returns_after_an_outage(outage: str, seconds: float) -> None:
    """Soon after it, 95 % of the calls are answered again: at the latest after as long as the outage was."""
    for seed in (1, 2):
        cell = replace(CALM, outage=outage, outage_seconds=seconds, seed=seed)
        assert longest_recovery(cell) <= 15.0
        assert judged(cell).recovery <= longest_recovery(cell)


@pytest.mark.parametrize("name", ["openai", "tenacity", "tenacity-random"])
def test_a_plain_queue_collapses_under_retries_without_a_budget(name: str) -> None:
    """Ten seconds of slowness at a load of 0.7 end the service for good: the queue is full of calls that have left."""
    cell = replace(CALM, policy=POLICIES[name], server="fifo", outage_seconds=10.0, after=60.0)
    outcome = Simulation(cell).run()
    assert outcome.after < 0.05
    assert outcome.wasted > 0.9


@pytest.mark.parametrize("name", ["ours", "ours-once"])
def test_a_plain_queue_recovers_from_ours(name: str) -> None:
    """The same slowness ends, with the budget and the breaker: no later than without any retries."""
    cell = replace(CALM, server="fifo", outage_seconds=10.0, after=60.0)
    ours, none = (Simulation(replace(cell, policy=POLICIES[which])).run() for which in (name, "none"))
    assert ours.recovery <= none.recovery < 60.0


@pytest.mark.parametrize("name", list(POLICIES))
def test_the_default_queue_recovers_from_every_policy(name: str) -> None:
    """Penstock's own queue works for callers who are still there, so that no policy keeps it down."""
    outcome = Simulation(replace(CALM, policy=POLICIES[name], outage_seconds=10.0)).run()
    assert outcome.recovery <= 10.0
    assert outcome.wasted < 0.2


def test_the_policies_are_those_of_the_sources() -> None:
    """A call that always meets 503 waits as openai-python and tenacity do."""
    facts = CallFacts(name="a", patience=60.0, request_timeout=2.0, is_idempotent=True)

    def waits(name: str, headers: dict[str, str]) -> list[float]:
        plan = POLICIES[name](random.Random(1)).plan_of(facts, 0.0)
        plan.start(0.0)
        found = []
        while isinstance(command := plan.handle(HeadArrived(503, headers), 0.0), Sleep):
            found.append(command.seconds)
            plan.handle(TimePassed(), 0.0)
        return found

    first, second = waits("openai", {})
    assert 0.375 <= first <= 0.5
    assert 0.75 <= second <= 1.0
    assert waits("openai", {"retry-after": "7"}) == [7.0, 7.0]
    assert waits("openai", {"retry-after": "121"}) == []
    assert waits("openai", {"x-should-retry": "false"}) == []
    assert waits("tenacity", {"x-should-retry": "false", "retry-after": "7"}) == [1.0, 2.0, 4.0, 8.0]
    assert [1.0 <= wait <= 2.0**n for n, wait in enumerate(waits("tenacity-random", {}))] == [True] * 5
    assert waits("none", {}) == []
