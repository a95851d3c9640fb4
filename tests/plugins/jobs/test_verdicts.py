"""The fate of a stored job, for each outcome of its call."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from penstock.errors import (
    Cancelled,
    Draining,
    ExecutionTimeout,
    HandlerError,
    InvalidRequest,
    PenstockError,
    QueueFull,
    QueueTimeout,
    Retryable,
    TotalTimeout,
    WorkerLost,
)
from penstock.job_store import StoredJob, StoreFull
from penstock_jobs.verdicts import Conclude, GiveBack, Result, RetryLater, Stop, Verdict, judge

JOB = StoredJob(
    id="a",
    endpoint="square",
    principal="",
    state="running",
    priority=2,
    created_at=0.0,
    digest="",
    result_ttl=60.0,
    record_ttl=60.0,
    on_lost="retry",
    max_claims=2,
    claim=1,
    claims=1,
    request_id="r1",
)
FINE = Result(b"9.0", "application/json", 200, {"x-a": "b"})


def fate(outcome: Result | PenstockError, *, attempts: int = 1, stop: Stop | None = None, **job: Any) -> Verdict:
    changed = msgspec.structs.replace(JOB, **job)
    return judge(changed, outcome, attempts=attempts, stop=stop, max_result_bytes=10, now=100.0, draw=lambda: 0.5)


def ended(verdict: Verdict) -> tuple[str, str | None]:
    assert isinstance(verdict, Conclude)
    return verdict.ending.state, verdict.ending.code


def test_a_result_is_kept_as_the_handler_has_sent_it() -> None:
    """With its type, status and headers."""
    verdict = fate(FINE)
    assert isinstance(verdict, Conclude)
    ending = verdict.ending
    assert (ending.state, ending.result, ending.media_type, ending.status) == (
        "succeeded",
        b"9.0",
        FINE.media_type,
        200,
    )
    assert ending.headers == {"x-a": "b"}


def test_too_large_a_result_is_a_failure_that_says_so() -> None:
    """And nothing of it is kept."""
    verdict = fate(Result(b"x" * 11, "text/plain", 200, {}))
    assert ended(verdict) == ("failed", "payload-too-large")
    assert isinstance(verdict, Conclude)
    assert verdict.ending.result is None
    assert b"larger than 10 bytes" in (verdict.ending.error or b"")


def test_the_reason_of_a_failure_is_a_problem_document() -> None:
    """As a direct caller would have received it, under the id of the request."""
    verdict = fate(InvalidRequest("it does not fit", errors=[]))
    assert ended(verdict) == ("failed", "invalid-request")
    assert isinstance(verdict, Conclude)
    document = json.loads(verdict.ending.error or b"")
    assert (document["status"], document["detail"], document["instance"]) == (422, "it does not fit", "r1")


@pytest.mark.parametrize("error", [ExecutionTimeout(), TotalTimeout()])
def test_a_job_that_ran_for_too_long_has_timed_out(error: PenstockError) -> None:
    """It is not run again, whatever the error says."""
    error.retryable = True
    assert ended(fate(error)) == ("timed_out", error.code)


def test_a_job_that_a_caller_has_cancelled_is_cancelled() -> None:
    """Unless it was quicker."""
    assert ended(fate(Cancelled(), stop="cancel")) == ("cancelled", "cancelled")
    assert ended(fate(FINE, stop="cancel")) == ("succeeded", None)


def test_a_job_that_the_service_stops_fails_with_its_reason() -> None:
    """Even if the handler has come to its end."""
    for outcome in (Cancelled(), FINE):
        assert ended(fate(outcome, stop=StoreFull("no room"))) == ("failed", "store-full")


@pytest.mark.parametrize("error", [QueueFull(), QueueTimeout()])
def test_a_job_that_has_not_run_is_put_back(error: PenstockError) -> None:
    """And the next one waits: the engine would refuse it too."""
    assert fate(error, attempts=0) == GiveBack(is_refused=True)


def test_a_drain_puts_jobs_back() -> None:
    """Those that ran too, unless they must not run twice."""
    assert fate(Draining()) == fate(Draining(), attempts=0, on_lost="fail") == GiveBack()
    assert ended(fate(Draining(), on_lost="fail")) == ("failed", "worker-lost")


def test_a_failure_that_may_pass_runs_again_later() -> None:
    """After a random wait, or the one that the code has asked for, and not more often than ``max_claims``."""
    assert fate(HandlerError(may_retry=True)) == RetryLater(101.0, "handler-error")
    assert fate(Retryable(delay=30.0)) == RetryLater(130.0, "handler-error")
    assert ended(fate(Retryable(), claims=2)) == ("failed", "handler-error")
    assert ended(fate(HandlerError())) == ("failed", "handler-error")


def test_the_wait_grows() -> None:
    """Four times with each claim, up to five minutes."""
    assert fate(Retryable(), claims=3, max_claims=5) == RetryLater(116.0, "handler-error")


def test_a_job_that_must_not_run_twice_runs_again_only_by_its_own_word() -> None:
    """``Retryable`` is that word."""
    assert ended(fate(HandlerError(may_retry=True), on_lost="fail")) == ("failed", "handler-error")
    assert isinstance(fate(Retryable(), on_lost="fail"), RetryLater)


def test_a_job_that_kills_workers_is_given_up() -> None:
    """One death may be an accident; of two the job is the cause."""
    assert isinstance(fate(WorkerLost(), attempts=1), RetryLater)
    assert ended(fate(WorkerLost(), attempts=2)) == ("failed", "worker-lost")
    assert ended(fate(WorkerLost(), attempts=1, on_lost="fail")) == ("failed", "worker-lost")
