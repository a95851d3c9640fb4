"""Retry rules: which failed jobs run again, and who decides."""

from __future__ import annotations

from penstock.errors import HandlerError, HookError, PenstockError, WorkerLost
from penstock.policies import Retries
from penstock.scheduler import Job, retry_lost
from penstock.testing import Behaviour
from tests.core.scheduler.scheduling import code, lane, ready


def test_the_usual_policy_is_for_lost_workers() -> None:
    """A lost job runs again at once, as often as its attempts allow; a job whose handler raised does not."""
    engine = ready(lane(retries=Retries(max_attempts=2)))
    job = engine.submit(behaviour=Behaviour.STUCK)
    assert (job.spent, retry_lost(job, WorkerLost(), 1.0)) == (1, 0.0)
    assert retry_lost(job, HandlerError(), 1.0) is None
    job.spent = 2
    assert retry_lost(job, WorkerLost(), 1.0) is None


def test_the_policy_of_the_lane_decides() -> None:
    """It receives the job, the error and the instant; None is final."""
    asked = []

    def never(job: Job, error: PenstockError, now: float) -> None:
        asked.append((job, error.code, now))

    engine = ready(lane(retry=never))
    job = engine.submit(behaviour=Behaviour.CRASHER)
    engine.advance(1.0)
    assert code(job) == "worker-lost"
    assert asked == [(job, "worker-lost", 1.01)]


def test_a_policy_that_fails_costs_its_job_and_no_other() -> None:
    """The job is answered with the error that the policy has raised; the next job is served."""

    def broken(job: Job, error: PenstockError, now: float) -> float | None:
        raise HookError("the policy has failed")

    engine = ready(lane(retry=broken))
    victim = engine.submit(behaviour=Behaviour.CRASHER)
    other = engine.submit()
    engine.advance(5.0)
    assert (code(victim), code(other)) == ("hook-error", "ok")
