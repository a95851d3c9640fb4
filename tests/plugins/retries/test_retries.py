"""The plug-in ``retries``: whether a job that has failed is tried again, and when."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from penstock import App, Backoff, Batching, Retries, RetryBudget
from penstock.errors import HandlerError, InvalidRequest, PenstockError, PluginError, WorkerLost
from penstock.hooks import Endpoint
from penstock.hooks.registry import Registry
from penstock.hooks.settings import Sources
from penstock.scheduler import LaneSpec, PoolSpec
from penstock.testing import Behaviour, FakeEngine, MockClock
from penstock_retries.bucket import KEEP_SECONDS, Bucket
from penstock_retries.plugin import Decide, RetriesPlugin, RetriesSettings

LOST = WorkerLost("it died")
PASSING = HandlerError("not now", may_retry=True)
LASTING = HandlerError("never")


def endpoint(retries: Retries = Retries(), **options: Any) -> Endpoint:
    """An endpoint with these retries."""
    app = App("tests")

    def work(batch: list[int]) -> list[int]:
        return batch

    app.endpoint("/work", retries=retries, **options)(work)
    return app.endpoints[0]


@dataclass
class Failed:
    """What the policy looks at of a job, and of its lane."""

    spent: int = 1
    finish_by: float = math.inf
    lane: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(admitted=1))


def policy(retries: Retries, *, clock: MockClock | None = None, seed: int = 1, **settings: Any) -> Decide:
    """The policy of an endpoint with these retries, under these settings of the operator's."""
    plugin = RetriesPlugin(RetriesSettings(**settings), random=Random(seed), clock=clock or MockClock())
    return plugin.penstock_retry_policy(endpoint(retries))


def decide(retries: Retries, error: PenstockError, now: float = 0.0, **job: Any) -> float | None:
    """What it says of one failure."""
    return policy(retries)(Failed(**job), error, now)  # type: ignore[arg-type]


# ---- what is tried again


def test_a_lost_worker_is_made_up_for_at_once() -> None:
    """Waiting would mend nothing: another worker takes the job."""
    assert decide(Retries(), LOST) == 0.0


def test_only_what_may_pass_is_tried_again() -> None:
    """The worker has said whether it may; nothing else is a failure of the code."""
    assert decide(Retries(), PASSING) is not None
    assert decide(Retries(), LASTING) is None
    assert decide(Retries(), InvalidRequest("no such field")) is None


@pytest.mark.parametrize("error", [LOST, PASSING], ids=["lost", "passing"])
def test_attempts_are_bounded(error: PenstockError) -> None:
    """The last of ``max_attempts`` is not tried again, whatever has failed."""
    assert decide(Retries(max_attempts=3), error, spent=2) is not None
    assert decide(Retries(max_attempts=3), error, spent=3) is None
    assert decide(Retries(max_attempts=1), error) is None


# ---- when


@pytest.mark.parametrize(("failures", "longest"), [(1, 0.1), (2, 0.2), (3, 0.4), (9, 1.0)])
def test_jitter_is_full(failures: int, longest: float) -> None:
    """Delays are spread evenly from nothing to the ceiling, and none lies beyond it."""
    retries = Retries(max_attempts=10, backoff=Backoff(base=0.1, factor=2.0, cap=1.0), budget=None)
    decide = policy(retries)
    delays = [decide(Failed(spent=failures), PASSING, 0.0) for _ in range(2000)]  # type: ignore[arg-type]
    known = [delay for delay in delays if delay is not None]
    assert len(known) == 2000
    assert 0.0 <= min(known) < 0.01 * longest
    assert 0.99 * longest < max(known) <= longest
    assert sum(known) / len(known) == pytest.approx(longest / 2, rel=0.05)


def test_without_back_off_it_is_tried_at_once() -> None:
    """``backoff=None`` says so."""
    assert decide(Retries(backoff=None), PASSING) == 0.0


@pytest.mark.parametrize("backoff", [None, Backoff()], ids=["at once", "back-off"])
def test_a_delay_of_the_handlers_own_is_kept_to(backoff: Backoff | None) -> None:
    """``Retryable(delay=...)`` knows better than the endpoint; 0 is a delay too."""
    for delay in (0.0, 7.5):
        error = HandlerError("not yet", may_retry=True, retry_delay=delay)
        assert decide(Retries(backoff=backoff), error) == delay


def test_no_delay_goes_beyond_the_deadline() -> None:
    """The failure is answered at once then, while its caller is still there to read it."""
    error = HandlerError("not yet", may_retry=True, retry_delay=2.0)
    assert decide(Retries(), error, now=10.0, finish_by=12.5) == 2.0
    assert decide(Retries(), error, now=10.0, finish_by=12.0) is None


# ---- the budget


def extra_attempts(decide: Decide, jobs: int, *, rate: float = math.inf, attempts: int = 10) -> int:
    """How many retries a model that always fails is given, by so many jobs that come at this rate."""
    lane = SimpleNamespace(admitted=0)
    retried = 0
    for number in range(jobs):
        lane.admitted += 1
        spent = 1
        while decide(Failed(spent=spent, lane=lane), PASSING, number / rate) is not None:  # type: ignore[arg-type]
            spent += 1
            retried += 1
            assert spent <= attempts
    return retried


def test_a_model_that_always_fails_is_not_retried_to_death() -> None:
    """1000 requests are given the 20 % of extra attempts of the budget, and its floor; not the 9000 they ask for."""
    assert extra_attempts(policy(Retries(max_attempts=10)), 1000) == 1000 * 0.2 + 10


def test_the_floor_grows_back_while_requests_come() -> None:
    """At 10 requests a second the reserve of 10 comes in again every ten seconds."""
    retried = extra_attempts(policy(Retries(max_attempts=10)), 1000, rate=10.0)
    assert retried == pytest.approx(1000 * 0.2 + 10 + 100, rel=0.02)


def test_without_a_budget_all_are_tried_again() -> None:
    """``budget=None`` bounds nothing but the attempts of each job."""
    assert extra_attempts(policy(Retries(max_attempts=3, budget=None)), 1000) == 2000


def test_the_budget_is_the_endpoints_own() -> None:
    """One endpoint's failures take nothing from another's."""
    plugin = RetriesPlugin(RetriesSettings(), clock=MockClock())
    first, second = (plugin.penstock_retry_policy(endpoint(Retries(max_attempts=10))) for _ in range(2))
    assert extra_attempts(first, 100) == extra_attempts(second, 100) == 30


def test_a_refusal_costs_no_token() -> None:
    """What is not tried again for another reason leaves the budget as it was."""
    decide = policy(Retries(max_attempts=2, budget=RetryBudget(ratio=0.0, floor=2)))
    for job in (Failed(spent=2), Failed(finish_by=0.0)):
        for _ in range(10):
            assert decide(job, PASSING, 0.0) is None  # type: ignore[arg-type]
    given = [decide(Failed(), error, 0.0) for error in (LASTING, PASSING, LOST, PASSING)]  # type: ignore[arg-type]
    assert [delay is not None for delay in given] == [False, True, True, False]


def test_a_crash_with_full_batches_fits_in_the_budget() -> None:
    """All jobs that one worker held are tried again, and those of another, whatever the floor."""
    retries = Retries(budget=RetryBudget(ratio=0.0, floor=0))
    declared = endpoint(retries, batching=Batching(max_size=32), concurrency=4)
    decide = RetriesPlugin(RetriesSettings(), clock=MockClock()).penstock_retry_policy(declared)
    given = [decide(Failed(), LOST, 0.0) for _ in range(2 * 32 * 4 + 1)]  # type: ignore[arg-type]
    assert given == [0.0] * (2 * 32 * 4) + [None]


def test_tokens_fade() -> None:
    """What ten calm minutes have put in is not there for the storm after them; what the last seconds have put in is."""
    bucket = Bucket(ratio=0.2, floor=0, now=0.0)
    taken = 0
    while bucket.take(100 * 600, 600.0):
        taken += 1
    assert taken == pytest.approx(100 * 0.2 * KEEP_SECONDS, abs=1)


def test_tokens_of_a_moment_are_all_there() -> None:
    """Nothing has faded yet."""
    bucket = Bucket(ratio=0.25, floor=0, now=5.0)
    assert [bucket.take(8, 5.0) for _ in range(3)] == [True, True, False]


def test_the_reserve_grows_back_to_the_floor_and_no_further() -> None:
    """Within ten seconds; a quiet endpoint may retry again."""
    bucket = Bucket(ratio=0.0, floor=10, now=0.0)
    assert [bucket.take(0, 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [bucket.take(0, KEEP_SECONDS / 10) for _ in range(2)] == [True, False]
    assert [bucket.take(0, 1000.0) for _ in range(11)] == [True] * 10 + [False]


def test_a_clock_that_steps_back_harms_nothing() -> None:
    """The bucket may have been made by a clock that was a moment ahead."""
    bucket = Bucket(ratio=0.0, floor=1, now=1.0)
    assert [bucket.take(0, 0.0) for _ in range(2)] == [True, False]


def test_an_exhausted_budget_is_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """One line in ten seconds, with the endpoint's name, however many jobs it fails."""
    decide = policy(Retries(budget=RetryBudget(ratio=0.0, floor=2)))
    with caplog.at_level(logging.WARNING, "penstock"):
        for now in [0.0] * 50 + [4.0] * 50 + [50.0] * 50:
            decide(Failed(), PASSING, now)  # type: ignore[arg-type]
    assert len(caplog.records) == 2
    assert "work has used up its retry budget" in caplog.records[0].getMessage()


def test_a_failing_model_is_spared_by_the_whole_scheduler() -> None:
    """Not only does the policy say so: the attempts that its workers see are no more than that."""
    declared = endpoint(Retries(max_attempts=10))
    engine = FakeEngine([PoolSpec(name="default", workers=4)], [LaneSpec(name="lane")])
    plugin = RetriesPlugin(RetriesSettings(), random=Random(1), clock=engine.clock)
    engine.scheduler.lanes["lane"].retry = plugin.penstock_retry_policy(declared)
    engine.start()
    engine.advance(1.0)
    jobs = []
    for _ in range(1000):
        jobs.append(engine.submit(behaviour=Behaviour.RETRYABLE))
        engine.advance(0.01)
    engine.advance(60.0)
    assert {job.outcome.code for job in jobs} == {"handler-error"}
    extra = sum(job.attempts - 1 for job in jobs)
    # Ten seconds of it, in which the reserve has come in once more, and a tenth or so of the tokens has faded.
    assert 1000 * 0.2 < extra <= 1000 * 0.2 + 10 + 11


# ---- the operator


def test_the_operator_bounds_the_attempts_of_all() -> None:
    """The setting is a lid: an endpoint that asks for less gets less."""
    decide = policy(Retries(max_attempts=9, budget=None), max_attempts=3)
    assert decide(Failed(spent=2), PASSING, 0.0) is not None  # type: ignore[arg-type]
    assert decide(Failed(spent=3), PASSING, 0.0) is None  # type: ignore[arg-type]
    assert policy(Retries(max_attempts=2), max_attempts=3)(Failed(spent=2), PASSING, 0.0) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [RetryBudget(ratio=5.0, floor=500), None], ids=["generous", "none"])
def test_the_operator_sets_the_budget_of_all(budget: RetryBudget | None) -> None:
    """The setting replaces what endpoints say, also that they need no budget."""
    decide = policy(Retries(max_attempts=10, budget=budget), budget_ratio=0.1, budget_floor=5)
    assert extra_attempts(decide, 100) == 100 * 0.1 + 5


def test_half_a_word_of_the_operators_leaves_the_other_half() -> None:
    """Each setting stands for itself."""
    retries = Retries(max_attempts=10, budget=RetryBudget(ratio=0.5, floor=20))
    assert extra_attempts(policy(retries, budget_ratio=0.1), 100) == 100 * 0.1 + 20
    assert extra_attempts(policy(retries, budget_floor=4), 100) == 100 * 0.5 + 4


@pytest.mark.parametrize(
    ("variable", "value"), [("MAX_ATTEMPTS", "0"), ("BUDGET_RATIO", "-1"), ("BUDGET_FLOOR", "1.5")]
)
def test_settings_that_mean_nothing_are_refused(variable: str, value: str) -> None:
    """At start-up, with the name of the variable."""
    sources = Sources({}, {f"PENSTOCK_RETRIES_{variable}": value})
    with pytest.raises(PluginError, match=variable):
        sources.resolve("retries", RetriesSettings)


def test_settings_come_from_the_environment() -> None:
    """As text."""
    sources = Sources({}, {"PENSTOCK_RETRIES_MAX_ATTEMPTS": "4", "PENSTOCK_RETRIES_BUDGET_RATIO": "0.5"})
    assert sources.resolve("retries", RetriesSettings).settings == RetriesSettings(max_attempts=4, budget_ratio=0.5)


def test_it_decides_in_place_of_the_core() -> None:
    """Registered like any plug-in, its policy is the endpoint's."""
    registry = Registry([RetriesPlugin(RetriesSettings())])
    delay = registry.retry_policy(endpoint(Retries(backoff=None)))(Failed(), PASSING, 0.0)  # type: ignore[arg-type]
    assert delay == 0.0
