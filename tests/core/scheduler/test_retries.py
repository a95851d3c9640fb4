"""Failed jobs that are tried again, at once or later, and what may happen to them meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import HandlerError, HookError, PenstockError, WorkerLost
from penstock.policies import Batching, Retries, Timeouts
from penstock.scheduler import Job, LaneSpec, PoolSpec
from penstock.scheduler import events as on
from penstock.scheduler.reports import RetryReport
from penstock.testing import Behaviour, FakeEngine
from tests.core.scheduler.scheduling import code, codes, events, lane, ready

Policy = Callable[[Job, PenstockError, float], float | None]


def after(delay: float, *, attempts: int = 3) -> Policy:
    """Return a policy that retries lost jobs and errors marked as retryable, after ``delay`` seconds."""

    def decide(job: Job, error: PenstockError, now: float) -> float | None:
        may_pass = isinstance(error, WorkerLost) or (isinstance(error, HandlerError) and error.may_retry)
        return delay if may_pass and job.spent < attempts else None

    return decide


def passing(failures: int = 1, **options: Any) -> Behaviour:
    """Return a behaviour that fails ``failures`` times, in a millisecond each, and then succeeds."""
    return Behaviour(fails=True, may_retry=True, recovers=failures, seconds=0.001, **options)


def retries(engine: FakeEngine) -> list[tuple[int, float, str]]:
    """Return the reported retries: the failed attempt, the delay, and the code of the error."""
    found = [report for report in engine.reports if isinstance(report, RetryReport)]
    return [(report.attempt, report.delay, report.error.code) for report in found]


# ---- when it is tried again


def test_a_failed_job_backs_off_and_is_tried_again() -> None:
    """Meanwhile it holds neither a slot nor a position in a queue, but it is not answered either."""
    engine = ready(lane(retry=after(0.5)))
    job = engine.submit(behaviour=passing())
    engine.advance(0.4)
    assert (job.state, code(job), job.attempts) == ("backing_off", None, 1)
    assert (len(job.lane.queue), job.lane.running, engine.scheduler.attempts) == (0, 0, {})
    assert engine.scheduler.live_jobs() == [job]
    assert engine.scheduler.lanes["lane"].statistics()["backing_off"] == 1
    engine.advance(0.2)
    assert (code(job), job.attempts, job.spent) == ("ok", 2, 2)
    assert job.started == pytest.approx(1.501)


def test_without_a_delay_it_is_queued_at_once() -> None:
    """It goes before all jobs that have arrived since."""
    engine = ready(lane(retry=after(0.0)))
    job = engine.submit(behaviour=passing(2))
    other = engine.submit()
    engine.advance(0.002)
    assert (job.state, other.state) == ("running", "queued")
    engine.advance(1.0)
    assert codes(job, other) == ["ok", "ok"]
    assert job.attempts == 3


def test_others_run_while_it_backs_off() -> None:
    """Its slot is free at once."""
    engine = ready(lane(retry=after(1.0)))
    engine.submit(behaviour=passing())
    other = engine.submit()
    engine.advance(0.1)
    assert code(other) == "ok"


def test_it_returns_to_where_it_was() -> None:
    """It goes before the jobs that have arrived since, also if several come back, in any order."""
    engine = ready(lane())
    first, second = (engine.submit(behaviour=passing()) for _ in range(2))
    delays = {first: 0.3, second: 0.2}
    first.lane.retry = lambda job, error, now: delays[job] if job.spent == 1 else None
    engine.advance(0.1)
    stuck = engine.submit(behaviour=Behaviour(seconds=0.5))
    last = engine.submit()
    engine.advance(0.4)
    assert [job.state for job in (first, second, stuck, last)] == ["queued", "queued", "running", "queued"]
    assert list(first.lane.queue) == [first, second, last]


def test_every_retry_is_reported() -> None:
    """The report has the job, the delay and the error; the end of the back-off is not a retry."""
    engine = ready(lane(retry=after(0.25, attempts=3)))
    job = engine.submit(behaviour=Behaviour.RETRYABLE)
    engine.advance(1.0)
    assert code(job) == "handler-error"
    assert retries(engine) == [(1, 0.25, "handler-error"), (2, 0.25, "handler-error")]


def test_a_lost_job_may_back_off_too() -> None:
    """It does so if its policy says so."""
    engine = ready(lane(retry=after(0.5)))
    job = engine.submit(behaviour=Behaviour.CRASHER)
    engine.advance(0.3)
    assert job.state == "backing_off"
    assert retries(engine) == [(1, 0.5, "worker-lost")]
    engine.advance(1.0)
    assert (code(job), job.deaths) == ("worker-lost", 2)


def test_a_job_of_a_line_may_back_off_too() -> None:
    """The worker had begun the job and died while running it, before the engine could see that it had begun."""
    engine = ready(lane(retry=after(0.5), runs_in_turn=True))
    for _ in range(8):
        engine.submit(behaviour=Behaviour(seconds=0.00001))
        engine.advance(0.01)
    engine.submit(behaviour=Behaviour(seconds=0.005))
    victim, bystander = engine.submit(), engine.submit()
    attempt = victim.attempt
    assert attempt is not None
    assert attempt.state == "sent"
    (worker,) = engine.workers.values()
    worker.exit("SIGSEGV", started=attempt.id)
    assert (victim.state, victim.attempts, victim.deaths) == ("backing_off", 1, 1)
    assert (bystander.state, bystander.attempts) == ("queued", 0)


def test_members_of_a_batch_are_tried_again_by_themselves() -> None:
    """The others have their answers. A retried member waits for company no longer than it would have at first."""
    engine = ready(lane(retry=after(0.0), batching=Batching(max_size=3, max_wait=0.005)))
    jobs = [engine.submit(behaviour=behaviour) for behaviour in (Behaviour.QUICK, passing(), Behaviour.FAILING)]
    engine.advance(0.0105)
    assert codes(*jobs) == ["ok", None, "handler-error"]
    assert jobs[1].state == "running"
    engine.advance(0.02)
    assert codes(*jobs) == ["ok", "ok", "handler-error"]


def test_what_was_given_back_has_spent_no_try() -> None:
    """A retry that its worker has not begun comes back as often as necessary."""
    engine = ready(lane(retry=after(0.0), runs_in_turn=True))
    job = engine.submit(behaviour=passing())
    engine.advance(0.0015)
    assert (job.attempts, job.spent) == (2, 2)
    assert job.attempt is not None
    engine.receive(on.ResultsArrived(job.attempt.id, 0.0, [on.NOT_BEGUN]))
    assert (job.attempts, job.spent) == (2, 2)  # given back, and begun again
    assert job.failure is not None


# ---- when it is not


def test_what_the_policy_declines_is_answered_with_the_original_error() -> None:
    """The reason does not matter: attempts, budget, or the kind of error."""
    engine = ready(lane(retry=after(0.1)))
    job = engine.submit(behaviour=Behaviour.FAILING)
    engine.advance(0.1)
    assert code(job) == "handler-error"
    assert isinstance(job.outcome, HandlerError)
    assert job.outcome.exception_type == "ValueError"
    assert not retries(engine)


def test_a_stream_that_has_begun_is_never_tried_again() -> None:
    """Its caller has seen a chunk, so the policy is not even asked."""
    engine = ready(lane(retry=after(0.0), is_stream=True))
    begun = engine.submit(behaviour=Behaviour(fails=True, may_retry=True, chunks=1, every=0.01, seconds=0.02))
    engine.advance(0.1)
    assert (code(begun), begun.attempts) == ("handler-error", 1)
    silent = engine.submit(behaviour=passing())
    engine.advance(0.1)
    assert (code(silent), silent.attempts) == ("ok", 2)


def test_what_is_not_idempotent_is_tried_again_only_if_it_says_so() -> None:
    """``Retryable`` says so: the policy is asked about no other error, and not about lost workers."""
    asked = []

    def always(job: Job, error: PenstockError, now: float) -> float | None:
        asked.append(error)
        return 0.0 if job.spent == 1 else None

    engine = ready(lane(retry=always, idempotent=False))
    jobs = [engine.submit(behaviour=behaviour) for behaviour in (Behaviour.FAILING, Behaviour.CRASHER, passing())]
    engine.advance(5.0)
    assert codes(*jobs) == ["handler-error", "worker-lost", "ok"]
    assert len(asked) == 1


@pytest.mark.parametrize("delay", [1.0, 2.0, float("inf"), float("nan")], ids=str)
def test_no_retry_goes_beyond_the_deadline(delay: float) -> None:
    """A delay that ends at the deadline or later counts as a refusal, and the failure is answered at once."""
    engine = ready(lane(retry=lambda *_: delay))
    job = engine.submit(behaviour=passing(), timeouts=Timeouts(total=1.0))
    engine.advance(0.01)
    assert (code(job), job.attempts) == ("handler-error", 1)


def test_a_negative_delay_is_none() -> None:
    """A policy may return any number."""
    engine = ready(lane(retry=after(-5.0)))
    job = engine.submit(behaviour=passing())
    engine.advance(0.05)
    assert code(job) == "ok"


def test_a_policy_that_fails_costs_its_job_and_no_other() -> None:
    """Its job is answered with the error that the policy has raised."""

    def broken(job: Job, error: PenstockError, now: float) -> float | None:
        raise HookError("the policy has failed")

    engine = ready(lane(retry=broken))
    victim, other = engine.submit(behaviour=Behaviour.FAILING), engine.submit()
    engine.advance(1.0)
    assert codes(victim, other) == ["hook-error", "ok"]


def test_bystanders_of_a_kill_are_not_asked_about() -> None:
    """They are queued again at once, whatever the policy, and are not charged an attempt."""
    engine = ready(lane(retry=lambda *_: None, timeouts=Timeouts(grace=0.1)), capacity=2)
    stuck = engine.submit(behaviour=Behaviour.STUCK_HARD)
    bystander = engine.submit(behaviour=Behaviour(seconds=0.5))
    engine.cancel(stuck)
    engine.advance(0.1)
    assert "kill" in events(engine)
    assert (bystander.state, bystander.spent, retries(engine)) == ("queued", 0, [])
    engine.advance(5.0)
    assert code(bystander) == "ok"


# ---- what may happen meanwhile


def test_a_caller_who_leaves_ends_the_wait() -> None:
    """A job is not retried without a caller."""
    engine = ready(lane(retry=after(0.5)))
    job = engine.submit(behaviour=passing())
    engine.advance(0.1)
    engine.cancel(job)
    assert (job.state, code(job), job.lane.backing_off) == ("cancelled", "cancelled", {})
    engine.advance(1.0)
    assert job.attempts == 1


def test_a_clock_that_leaps_past_the_deadline_ends_the_wait() -> None:
    """The total time ends while a job that has run waits: 504, and no attempt that comes too late."""
    engine = ready(lane(retry=after(0.5)))
    job = engine.submit(behaviour=passing(), timeouts=Timeouts(total=1.0))
    engine.advance(0.1)
    engine.clock.advance(5.0)
    engine.receive(on.TimePassed())
    assert (job.state, code(job), job.attempts) == ("timed_out", "total-timeout", 1)


def test_a_retry_for_which_nobody_is_free_is_answered_with_its_failure() -> None:
    """Its new queue timeout runs from when it is queued again; its earlier failure is the more useful answer."""
    engine = ready(lane(retry=after(0.5), timeouts=Timeouts(queue=1.0)))
    job = engine.submit(behaviour=passing())
    engine.advance(0.1)
    engine.submit(behaviour=Behaviour.STUCK)
    engine.advance(1.4)
    assert job.state == "queued"
    engine.advance(0.1)
    assert (job.state, code(job), job.lane.counts.outcomes["handler-error"]) == ("expired", "handler-error", 1)


def test_a_full_queue_takes_a_retry_back() -> None:
    """The job was admitted once, and is not refused now."""
    engine = ready(lane(retry=after(0.5), max_queue=1))
    job = engine.submit(behaviour=passing())
    engine.advance(0.1)
    running, queued, refused = (engine.submit(behaviour=Behaviour(seconds=1.0)) for _ in range(3))
    assert code(refused) == "queue-full"
    engine.advance(0.6)
    assert len(job.lane.queue) == 2
    engine.advance(5.0)
    assert codes(job, running, queued) == ["ok", "ok", "ok"]


def test_a_drain_waits_for_it() -> None:
    """The worker is kept until the retry has run."""
    engine = ready(lane(retry=after(0.5)))
    job = engine.submit(behaviour=passing())
    engine.advance(0.1)
    engine.drain(10.0)
    assert not engine.scheduler.is_drained
    engine.advance(1.0)
    assert code(job) == "ok"
    assert engine.scheduler.is_drained


def test_a_drain_replaces_the_worker_that_it_needs() -> None:
    """A job that backs off counts as work, as a queued one does."""
    engine = ready(lane(retry=after(0.5)))
    job = engine.submit(behaviour=passing())
    engine.advance(0.1)
    engine.drain(10.0)
    next(iter(engine.workers.values())).exit("SIGKILL")
    engine.advance(2.0)
    assert code(job) == "ok"
    assert engine.scheduler.is_drained


def test_the_end_of_a_drain_ends_the_wait() -> None:
    """The job is abandoned, and its caller may send it again if that is safe."""
    engine = ready(lane(retry=after(5.0)))
    job = engine.submit(behaviour=passing())
    engine.advance(0.1)
    engine.drain(1.0)
    engine.advance(1.0)
    assert (job.state, code(job)) == ("cancelled", "draining")
    assert isinstance(job.outcome, PenstockError)
    assert job.outcome.retryable
    engine.advance(1.0)
    assert engine.scheduler.is_drained


def test_a_pool_that_fails_for_good_answers_it() -> None:
    """The answer is its earlier failure, since there will be no other attempt."""
    engine = FakeEngine([PoolSpec(name="default")], [LaneSpec(name="lane", retry=after(5.0))])
    engine.start()
    engine.advance(1.0)
    job = engine.submit(behaviour=passing())
    engine.advance(0.1)
    engine.receive(on.ImportFailed("the import raised"))
    assert code(job) is None  # there is still a worker
    next(iter(engine.workers.values())).exit("SIGKILL")
    assert (job.state, code(job)) == ("failed", "handler-error")


def test_suspects_stay_suspects_while_they_back_off() -> None:
    """A job under which a worker has died runs alone, however often it has failed otherwise."""
    engine = ready(lane(retry=after(0.1), retries=Retries(max_attempts=5)), capacity=2)
    job = engine.submit(behaviour=Behaviour.CRASHER)
    engine.advance(0.05)
    assert job.state == "backing_off"
    assert job.is_suspect


def test_what_is_admitted_is_counted_once() -> None:
    """Retries are not new jobs: a retry budget is a share of the admitted ones."""
    engine = ready(lane(retry=after(0.01), max_queue=1))
    job = engine.submit(behaviour=passing(2))
    for _ in range(3):
        engine.submit()
    engine.advance(1.0)
    assert job.attempts == 3
    assert job.lane.admitted == 2
