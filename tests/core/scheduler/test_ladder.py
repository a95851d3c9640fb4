"""The ladder that takes a slot back, and the fate of jobs whose worker dies."""

from __future__ import annotations

import math

from penstock.policies import Batching, Retries, Timeouts
from penstock.scheduler import PoolSpec
from penstock.scheduler import events as on
from penstock.scheduler.retries import MOST_ATTEMPTS
from penstock.testing import Behaviour, FakeEngine
from tests.core.scheduler.scheduling import code, codes, events, lane, names, ready

SHORT = Timeouts(execution=0.5, grace=2.0)
STUCK_FOR_A_SECOND = Behaviour(seconds=math.inf, acknowledges=1.0)


def kill_worker(engine: FakeEngine, worker: int = 1) -> None:
    """Kill a worker from outside."""
    engine.workers[worker].exit("SIGKILL")


def test_the_answer_comes_at_the_deadline_and_the_slot_with_the_acknowledgement() -> None:
    """The caller does not wait for the code to stop; the next job does, so no slot is used twice."""
    engine = ready(lane(timeouts=SHORT))
    stuck = engine.submit(behaviour=STUCK_FOR_A_SECOND)
    waiting = engine.submit()
    engine.advance(0.5)
    assert (code(stuck), stuck.answered, waiting.attempts) == ("execution-timeout", 1.5, 0)
    engine.advance(0.999)
    assert waiting.attempts == 0
    engine.advance(0.001)
    assert (waiting.attempts, waiting.started) == (1, 2.5)
    assert events(engine) == ["interrupt"]


def test_the_worker_is_killed_when_the_grace_is_over() -> None:
    """An attempt that does not stop within ``grace`` costs its worker, and a new one takes its place at once."""
    engine = ready(lane(timeouts=SHORT))
    engine.submit(behaviour=Behaviour.STUCK_HARD)
    waiting = engine.submit()
    engine.advance(2.499)
    assert events(engine) == ["interrupt"]
    engine.advance(0.001)
    assert events(engine) == ["interrupt", "overstayed", "kill"]
    engine.advance(0.2)
    assert events(engine)[3:] == ["restart", "worker-ready"]
    assert code(waiting) == "ok"


def test_the_commands_of_the_ladder_in_their_order() -> None:
    """The caller is answered first, then the code is asked to stop, then the operator's log is written."""
    engine = ready(lane(timeouts=SHORT))
    engine.submit(behaviour=Behaviour.STUCK_HARD)
    engine.clock.advance(0.5)
    assert names(engine.receive(on.TimePassed())) == ["Answer", "Interrupt", "interrupt"]
    engine.clock.advance(2.0)
    assert names(engine.receive(on.TimePassed())) == ["overstayed", "Kill", "kill"]
    assert names(engine.receive(on.WorkerExited(1, "SIGKILL"))) == ["restart", "StartWorker"]


def test_an_interrupt_says_why() -> None:
    """The report names the limit, or says that the caller has gone."""
    engine = ready(lane(timeouts=SHORT))
    engine.submit(behaviour=Behaviour.STUCK)
    engine.advance(1.0)
    engine.cancel(engine.submit(behaviour=Behaviour.STUCK))
    assert [report.why for report in engine.reports] == ["execution", "cancel"]


def test_a_hang_up_climbs_the_same_ladder() -> None:
    """When a client leaves, its running work is interrupted, and killed after the grace period."""
    engine = ready(lane(timeouts=SHORT))
    engine.cancel(engine.submit(behaviour=Behaviour.STUCK_HARD))
    engine.advance(2.0)
    assert events(engine) == ["interrupt", "overstayed", "kill"]


def test_late_events_are_harmless() -> None:
    """Events that a killed worker sent before it died, and repeated events, change nothing."""
    engine = ready(lane(timeouts=SHORT))
    job = engine.submit(behaviour=Behaviour.STUCK_HARD)
    attempt = job.attempt
    assert attempt is not None
    for seconds in (0.5, 2.0):
        engine.clock.advance(seconds)
        engine.receive(on.TimePassed())
    assert events(engine)[-1] == "kill"
    assert engine.receive(on.ResultsArrived(attempt.id, 1.0, ["late"])) == []
    assert engine.receive(on.ChunksArrived(attempt.id, 3)) == []
    assert engine.receive(on.ChunksTaken(job, 1)) == []
    assert engine.receive(on.CancelRequested(job, "late")) == []
    assert engine.receive(on.SetupFinished(1, 0.1)) == []
    engine.receive(on.WorkerExited(1, "SIGKILL"))
    assert engine.receive(on.WorkerExited(1, "again")) == []
    assert engine.receive(on.SetupFinished(1, 0.1)) == []
    assert code(job) == "execution-timeout"


def test_innocents_run_again_first_and_for_free() -> None:
    """Jobs beside the one that had to be killed go back to the front, in order, and are not charged an attempt."""
    engine = ready(lane(retries=Retries(max_attempts=1), timeouts=Timeouts(grace=0.0)), capacity=3)
    engine.submit(behaviour=Behaviour.STUCK_HARD, timeouts=Timeouts(execution=0.5))
    innocents = [engine.submit(behaviour=Behaviour(seconds=5.0)) for _ in range(2)]
    waiting = [engine.submit(behaviour=Behaviour(seconds=5.0)) for _ in range(2)]
    engine.clock.advance(0.5)
    engine.receive(on.TimePassed())
    assert list(engine.scheduler.lanes["lane"].queue) == innocents + waiting
    assert [(job.attempts, job.spent, job.deaths) for job in innocents] == [(1, 0, 0)] * 2
    engine.advance(20.0)
    assert codes(*innocents, *waiting) == ["ok"] * 4
    assert [job.attempts for job in innocents] == [2, 2]


def test_a_lost_job_runs_again() -> None:
    """A killed worker costs its job an attempt, but not its answer."""
    engine = ready(workers=2)
    job = engine.submit(behaviour=Behaviour.SLOW)
    kill_worker(engine)
    assert (job.attempts, job.spent, job.deaths) == (2, 2, 1)
    engine.advance(1.0)
    assert code(job) == "ok"
    assert events(engine)[:3] == ["worker-lost", "retry", "restart"]


def test_a_job_whose_code_had_not_begun_is_innocent() -> None:
    """If the shared memory says that another attempt, or none, was in the user's code, the job is not a suspect."""
    engine = ready(workers=2)
    job = engine.submit(behaviour=Behaviour.SLOW)
    engine.receive(on.WorkerExited(1, "SIGKILL", started=0))
    assert (job.attempts, job.spent, job.deaths) == (2, 1, 0)


def test_a_poison_job_fails_after_two_workers() -> None:
    """A job that has seen two workers die is not tried on a third, and no other job is harmed."""
    engine = ready(lane(retries=Retries(max_attempts=9)), workers=2)
    poison = engine.submit(behaviour=Behaviour.CRASHER)
    others = [engine.submit() for _ in range(5)]
    engine.advance(5.0)
    assert (code(poison), poison.attempts, poison.deaths) == ("worker-lost", 2, 2)
    assert "2 workers have died while running it" in str(poison.outcome)
    assert codes(*others) == ["ok"] * 5


def test_even_an_innocent_job_is_given_up_in_the_end() -> None:
    """A job whose workers die each time, though it never seems the cause, is not retried indefinitely."""
    engine = ready(lane(timeouts=Timeouts(queue=None)))
    job = engine.submit(behaviour=Behaviour.STUCK)
    for _ in range(MOST_ATTEMPTS):
        assert job.attempt is not None
        worker = job.attempt.worker
        engine.workers[worker.id].exit("SIGKILL", started=0)
        engine.advance(100.0)
    assert (code(job), job.attempts, job.deaths) == ("worker-lost", MOST_ATTEMPTS, 0)
    assert f"it had already begun {MOST_ATTEMPTS} times" in str(job.outcome)


def test_retries_bound_the_tries_of_a_lost_job() -> None:
    """With ``max_attempts=1`` a lost job is answered, with an error that says it may be sent again."""
    engine = ready(lane(retries=Retries(max_attempts=1)))
    job = engine.submit(behaviour=Behaviour.CRASHER)
    engine.advance(0.01)
    assert (code(job), job.attempts, job.outcome.retryable) == ("worker-lost", 1, True)


def test_what_is_not_idempotent_never_runs_twice() -> None:
    """A lost job of such an endpoint is answered, and its error does not say that it is safe to send again."""
    engine = ready(lane(idempotent=False))
    job = engine.submit(behaviour=Behaviour.CRASHER)
    engine.advance(0.01)
    assert (code(job), job.attempts, job.outcome.retryable) == ("worker-lost", 1, False)


def test_a_stream_that_has_begun_never_runs_twice() -> None:
    """After the first chunk, the caller would see chunks twice."""
    engine = ready(lane(is_stream=True))
    begun = engine.submit(behaviour=Behaviour(seconds=1.0, chunks=1))
    engine.advance(0.01)
    kill_worker(engine)
    assert (code(begun), begun.outcome.retryable) == ("worker-lost", False)
    assert "it had already sent chunks" in str(begun.outcome)


def test_a_stream_that_has_not_begun_runs_again() -> None:
    """Before the first chunk a stream is like any other job."""
    engine = ready(lane(is_stream=True), workers=2)
    job = engine.submit(behaviour=Behaviour(seconds=1.0, chunks=1, every=0.5))
    kill_worker(engine)
    engine.advance(1.0)
    assert (code(job), job.attempts) == ("ok", 2)


def test_a_suspect_runs_alone() -> None:
    """Any of the jobs in a dead worker may be the cause: each runs alone until it has proved innocent."""
    engine = ready(capacity=3)
    poison = engine.submit(behaviour=Behaviour(seconds=0.1, crashes=True))
    others = [engine.submit(behaviour=Behaviour.SLOW) for _ in range(2)]
    engine.advance(0.3)
    (attempt,) = engine.scheduler.attempts.values()
    assert (attempt.jobs, attempt.units) == ([poison], 3)
    engine.advance(5.0)
    assert codes(poison, *others) == ["worker-lost", "ok", "ok"]


def test_a_suspect_of_a_batch_runs_alone() -> None:
    """The members of a batch that lost its worker are tried in batches of one."""
    engine = ready(lane(batching=Batching(max_size=3, max_wait=0.0), timeouts=Timeouts(queue=None)))
    engine.submit()
    jobs = [engine.submit(behaviour=Behaviour(crashes=position == 1)) for position in range(3)]
    engine.advance(10.0)
    assert codes(*jobs) == ["ok", "worker-lost", "ok"]
    assert [job.attempts for job in jobs] == [2, 2, 2]


def test_a_lost_job_that_finds_no_worker_in_time_is_told_so() -> None:
    """The job has been started, so this is not a queue timeout; and it may be sent again."""
    engine = ready(lane(timeouts=Timeouts(queue=0.05)))
    job = engine.submit(behaviour=Behaviour.SLOW)
    kill_worker(engine)
    engine.advance(0.05)
    assert (code(job), job.state, job.outcome.retryable) == ("worker-lost", "expired", True)
    assert str(job.outcome) == "lane: its worker was lost, and no other became free in time"


def test_a_stuck_thread_costs_no_innocent() -> None:
    """Threads cannot be interrupted: their worker takes nothing new, finishes the rest, and is replaced."""
    engine = ready(lane(is_interruptible=False, timeouts=Timeouts(grace=0.1)), capacity=2)
    engine.submit(behaviour=Behaviour.STUCK_HARD, timeouts=Timeouts(execution=0.1))
    beside = engine.submit(behaviour=Behaviour.SLOW)
    waiting = engine.submit()
    engine.advance(0.9)
    assert events(engine) == ["interrupt", "overstayed"]
    assert engine.scheduler.workers[1].state == "draining"
    assert waiting.attempts == 0
    engine.advance(1.0)
    assert events(engine)[2:] == ["kill", "restart", "worker-ready"]
    assert (code(beside), beside.attempts, code(waiting)) == ("ok", 1, "ok")


def test_a_thread_that_returns_after_all_ends_its_worker_in_peace() -> None:
    """When the last attempt of a retired worker ends by itself, the worker is stopped and not killed."""
    engine = ready(lane(is_interruptible=False, timeouts=Timeouts(grace=0.1)), capacity=2)
    engine.submit(behaviour=Behaviour(seconds=0.5, acknowledges=math.inf), timeouts=Timeouts(execution=0.1))
    engine.submit(behaviour=Behaviour(seconds=1.0))
    engine.advance(0.9)
    assert events(engine) == ["interrupt", "overstayed"]
    engine.advance(0.5)
    assert events(engine)[2:] == ["restart", "worker-ready"]


def test_two_stuck_threads_are_ended_together() -> None:
    """Once no caller waits for anything in the worker, it is killed when each attempt has had its grace."""
    engine = ready(lane(is_interruptible=False, timeouts=Timeouts(grace=0.125)), capacity=2)
    for limit in (0.25, 0.5):
        engine.submit(behaviour=Behaviour.STUCK_HARD, timeouts=Timeouts(execution=limit))
    engine.advance(0.624)
    assert "kill" not in events(engine)
    engine.advance(0.001)
    assert events(engine)[-1] == "kill"


def test_a_tear_down_has_its_limit() -> None:
    """A worker that was asked to stop and does not is killed."""
    engine = ready()
    engine.drain()
    engine.workers[1].is_alive = False  # it hangs, and sends nothing any more
    engine.advance(5.0)
    assert "kill" in events(engine)


def test_pools_do_not_touch_each_other() -> None:
    """A worker that dies takes no job of another pool with it."""
    engine = FakeEngine([PoolSpec(name="a"), PoolSpec(name="b")], [lane(name="x", pool="a"), lane(name="y", pool="b")])
    engine.start()
    engine.advance(1.0)
    lost, other = engine.submit("x", Behaviour.SLOW), engine.submit("y", Behaviour.SLOW)
    kill_worker(engine)
    assert (lost.deaths, other.deaths, other.attempts) == (1, 0, 1)
