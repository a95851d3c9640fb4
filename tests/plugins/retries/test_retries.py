"""The plug-in ``retries``: which failed jobs are retried, and when."""

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
    """Return an endpoint with these retries."""
    app = App("tests")

    def work(batch: list[int]) -> list[int]:
        return batch

    app.endpoint("/work", retries=retries, **options)(work)
    return app.endpoints[0]


@dataclass
class Failed:
    """The attributes of a job and its lane that the policy reads."""

    spent: int = 1
    finish_by: float = math.inf
    lane: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(admitted=1))


def policy(retries: Retries, *, clock: MockClock | None = None, seed: int = 1, **settings: Any) -> Decide:
    """Return the policy of an endpoint with these retries, under the operator's settings."""
    plugin = RetriesPlugin(RetriesSettings(**settings), random=Random(seed), clock=clock or MockClock())
    return plugin.penstock_retry_policy(endpoint(retries))


def decide(retries: Retries, error: PenstockError, now: float = 0.0, **job: Any) -> float | None:
    """Return the policy's decision on one failure."""
    return policy(retries)(Failed(**job), error, now)  # type: ignore[arg-type]


# ---- which failures are retried


def test_the_jobs_of_a_lost_worker_are_retried_immediately() -> None:
    """Waiting would not help: another worker takes the job."""
    assert decide(Retries(), LOST) == 0.0


def test_only_transient_failures_are_retried() -> None:
    """The worker marks errors of the handler that may be transient; no other error is a failure of the handler."""
    assert decide(Retries(), PASSING) is not None
    assert decide(Retries(), LASTING) is None
    assert decide(Retries(), InvalidRequest("no such field")) is None


@pytest.mark.parametrize("error", [LOST, PASSING], ids=["lost", "passing"])
def test_attempts_are_bounded(error: PenstockError) -> None:
    """After the last of ``max_attempts`` the job is not retried, whichever error it is."""
    assert decide(Retries(max_attempts=3), error, spent=2) is not None
    assert decide(Retries(max_attempts=3), error, spent=3) is None
    assert decide(Retries(max_attempts=1), error) is None


# ---- delays


@pytest.mark.parametrize(("failures", "longest"), [(1, 0.1), (2, 0.2), (3, 0.4), (9, 1.0)])
def test_jitter_is_full(failures: int, longest: float) -> None:
    """Delays are uniform between 0 and the ceiling, and never above it."""
    retries = Retries(max_attempts=10, backoff=Backoff(base=0.1, factor=2.0, cap=1.0), budget=None)
    decide = policy(retries)
    delays = [decide(Failed(spent=failures), PASSING, 0.0) for _ in range(2000)]  # type: ignore[arg-type]
    known = [delay for delay in delays if delay is not None]
    assert len(known) == 2000
    assert 0.0 <= min(known) < 0.01 * longest
    assert 0.99 * longest < max(known) <= longest
    assert sum(known) / len(known) == pytest.approx(longest / 2, rel=0.05)


def test_without_back_off_the_retry_is_immediate() -> None:
    """With ``backoff=None`` the delay is 0."""
    assert decide(Retries(backoff=None), PASSING) == 0.0


@pytest.mark.parametrize("backoff", [None, Backoff()], ids=["at once", "back-off"])
def test_a_delay_that_the_handler_asks_for_is_kept(backoff: Backoff | None) -> None:
    """``Retryable(delay=...)`` overrides the endpoint's back-off; 0 is a delay too."""
    for delay in (0.0, 7.5):
        error = HandlerError("not yet", may_retry=True, retry_delay=delay)
        assert decide(Retries(backoff=backoff), error) == delay


def test_no_delay_goes_beyond_the_deadline() -> None:
    """A retry that would come too late is not made: the error is returned immediately, while the caller still waits."""
    error = HandlerError("not yet", may_retry=True, retry_delay=2.0)
    assert decide(Retries(), error, now=10.0, finish_by=12.5) == 2.0
    assert decide(Retries(), error, now=10.0, finish_by=12.0) is None


# ---- the budget


def extra_attempts(decide: Decide, jobs: int, *, rate: float = math.inf, attempts: int = 10) -> int:
    """Return the number of retries for a model that always fails, when ``jobs`` jobs arrive at this rate."""
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
    """1000 requests get the 20 % of extra attempts of the budget, and its floor; not the 9000 they ask for."""
    assert extra_attempts(policy(Retries(max_attempts=10)), 1000) == 1000 * 0.2 + 10


def test_the_floor_grows_back_while_requests_come() -> None:
    """At 10 requests a second the reserve of 10 is refilled every ten seconds."""
    retried = extra_attempts(policy(Retries(max_attempts=10)), 1000, rate=10.0)
    assert retried == pytest.approx(1000 * 0.2 + 10 + 100, rel=0.02)


def test_without_a_budget_all_jobs_are_retried() -> None:
    """With ``budget=None`` only the attempts of each job are bounded."""
    assert extra_attempts(policy(Retries(max_attempts=3, budget=None)), 1000) == 2000


def test_the_budget_is_the_endpoints_own() -> None:
    """The failures of one endpoint take no token from another."""
    plugin = RetriesPlugin(RetriesSettings(), clock=MockClock())
    first, second = (plugin.penstock_retry_policy(endpoint(Retries(max_attempts=10))) for _ in range(2))
    assert extra_attempts(first, 100) == extra_attempts(second, 100) == 30


def test_a_refusal_costs_no_token() -> None:
    """A job that is not retried for another reason takes no token."""
    decide = policy(Retries(max_attempts=2, budget=RetryBudget(ratio=0.0, floor=2)))
    for job in (Failed(spent=2), Failed(finish_by=0.0)):
        for _ in range(10):
            assert decide(job, PASSING, 0.0) is None  # type: ignore[arg-type]
    given = [decide(Failed(), error, 0.0) for error in (LASTING, PASSING, LOST, PASSING)]  # type: ignore[arg-type]
    assert [delay is not None for delay in given] == [False, True, True, False]


def test_a_crash_with_full_batches_fits_in_the_budget() -> None:
    """All jobs that two full workers held are retried, however small the floor is."""
    retries = Retries(budget=RetryBudget(ratio=0.0, floor=0))
    declared = endpoint(retries, batching=Batching(max_size=32), concurrency=4)
    decide = RetriesPlugin(RetriesSettings(), clock=MockClock()).penstock_retry_policy(declared)
    given = [decide(Failed(), LOST, 0.0) for _ in range(2 * 32 * 4 + 1)]  # type: ignore[arg-type]
    assert given == [0.0] * (2 * 32 * 4) + [None]


def test_tokens_decay() -> None:
    """Tokens earned in ten quiet minutes are not available afterwards; those of the last seconds are."""
    bucket = Bucket(ratio=0.2, floor=0, now=0.0)
    taken = 0
    while bucket.take(100 * 600, 600.0):
        taken += 1
    assert taken == pytest.approx(100 * 0.2 * KEEP_SECONDS, abs=1)


def test_tokens_earned_in_an_instant_are_all_available() -> None:
    """None of them has decayed yet."""
    bucket = Bucket(ratio=0.25, floor=0, now=5.0)
    assert [bucket.take(8, 5.0) for _ in range(3)] == [True, True, False]


def test_the_reserve_grows_back_to_the_floor_and_no_further() -> None:
    """The reserve refills within ten seconds, so a quiet endpoint may retry again."""
    bucket = Bucket(ratio=0.0, floor=10, now=0.0)
    assert [bucket.take(0, 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [bucket.take(0, KEEP_SECONDS / 10) for _ in range(2)] == [True, False]
    assert [bucket.take(0, 1000.0) for _ in range(11)] == [True] * 10 + [False]


def test_a_clock_that_steps_back_does_no_harm() -> None:
    """The bucket may have been created with a clock that was slightly ahead."""
    bucket = Bucket(ratio=0.0, floor=1, now=1.0)
    assert [bucket.take(0, 0.0) for _ in range(2)] == [True, False]


def test_an_exhausted_budget_is_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """There is one line in ten seconds at most, with the endpoint's name, however many jobs fail."""
    decide = policy(Retries(budget=RetryBudget(ratio=0.0, floor=2)))
    with caplog.at_level(logging.WARNING, "penstock"):
        for now in [0.0] * 50 + [4.0] * 50 + [50.0] * 50:
            decide(Failed(), PASSING, now)  # type: ignore[arg-type]
    assert len(caplog.records) == 2
    assert "work has used up its retry budget" in caplog.records[0].getMessage()


def test_a_failing_model_is_spared_by_the_whole_scheduler() -> None:
    """The budget bounds the attempts that workers really see, not only the decisions of the policy."""
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
    # It lasts ten seconds, in which the reserve is refilled once and about a tenth of the tokens decays.
    assert 1000 * 0.2 < extra <= 1000 * 0.2 + 10 + 11


# ---- the operator


def test_the_operator_bounds_the_attempts_of_all() -> None:
    """The setting is an upper bound: an endpoint that declares fewer attempts keeps its own number."""
    decide = policy(Retries(max_attempts=9, budget=None), max_attempts=3)
    assert decide(Failed(spent=2), PASSING, 0.0) is not None  # type: ignore[arg-type]
    assert decide(Failed(spent=3), PASSING, 0.0) is None  # type: ignore[arg-type]
    assert policy(Retries(max_attempts=2), max_attempts=3)(Failed(spent=2), PASSING, 0.0) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [RetryBudget(ratio=5.0, floor=500), None], ids=["generous", "none"])
def test_the_operator_sets_the_budget_of_all(budget: RetryBudget | None) -> None:
    """The settings replace the budget of every endpoint, and also the absence of one."""
    decide = policy(Retries(max_attempts=10, budget=budget), budget_ratio=0.1, budget_floor=5)
    assert extra_attempts(decide, 100) == 100 * 0.1 + 5


def test_the_operator_may_set_one_half_of_the_budget() -> None:
    """Ratio and floor are set independently."""
    retries = Retries(max_attempts=10, budget=RetryBudget(ratio=0.5, floor=20))
    assert extra_attempts(policy(retries, budget_ratio=0.1), 100) == 100 * 0.1 + 20
    assert extra_attempts(policy(retries, budget_floor=4), 100) == 100 * 0.5 + 4


@pytest.mark.parametrize(
    ("variable", "value"), [("MAX_ATTEMPTS", "0"), ("BUDGET_RATIO", "-1"), ("BUDGET_FLOOR", "1.5")]
)
def test_invalid_settings_are_refused(variable: str, value: str) -> None:
    """They are refused at start-up, and the error names the variable."""
    sources = Sources({}, {f"PENSTOCK_RETRIES_{variable}": value})
    with pytest.raises(PluginError, match=variable):
        sources.resolve("retries", RetriesSettings)


def test_settings_come_from_the_environment() -> None:
    """The values of environment variables are converted from text."""
    sources = Sources({}, {"PENSTOCK_RETRIES_MAX_ATTEMPTS": "4", "PENSTOCK_RETRIES_BUDGET_RATIO": "0.5"})
    assert sources.resolve("retries", RetriesSettings).settings == RetriesSettings(max_attempts=4, budget_ratio=0.5)


def test_its_policy_replaces_the_cores() -> None:
    """Registered like any plug-in, it decides on the endpoint's retries."""
    registry = Registry([RetriesPlugin(RetriesSettings())])
    delay = registry.retry_policy(endpoint(Retries(backoff=None)))(Failed(), PASSING, 0.0)  # type: ignore[arg-type]
    assert delay == 0.0
