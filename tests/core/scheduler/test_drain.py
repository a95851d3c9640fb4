"""The drain: admitted jobs are finished, new ones are refused, and nothing is left at the end."""

from __future__ import annotations

from penstock.policies import Timeouts
from penstock.scheduler import events as on
from penstock.testing import Behaviour, FakeEngine
from tests.core.scheduler.scheduling import code, codes, events, lane, names, ready


def test_an_idle_engine_drains_at_once() -> None:
    """Its workers are asked to stop; once they have exited, it is drained."""
    engine = ready(workers=2)
    assert names(engine.receive(on.DrainRequested(30.0))) == ["drain", "StopWorker", "StopWorker"]
    assert not engine.scheduler.is_drained
    engine.advance(0.01)
    assert engine.scheduler.is_drained
    assert events(engine) == ["drain"]


def test_what_is_admitted_is_finished_and_what_comes_is_refused() -> None:
    """Running and queued jobs succeed; a new one is refused, and should go elsewhere."""
    engine = ready()
    jobs = [engine.submit(behaviour=Behaviour.SLOW) for _ in range(3)]
    engine.drain()
    late = engine.submit()
    assert (code(late), late.outcome.retryable) == ("draining", True)
    assert engine.scheduler.unready_reasons() == ["draining"]
    engine.advance(3.01)
    assert codes(*jobs) == ["ok"] * 3
    assert engine.scheduler.is_drained


def test_at_the_end_of_patience_the_rest_is_answered_and_stopped() -> None:
    """Queued and running jobs get the same answer; the running ones are interrupted, and killed after their grace."""
    engine = ready(lane(timeouts=Timeouts(grace=1.0)))
    jobs = [engine.submit(behaviour=Behaviour.STUCK_HARD) for _ in range(3)]
    engine.drain(2.0)
    engine.advance(2.0)
    assert codes(*jobs) == ["draining"] * 3
    assert events(engine) == ["drain", "drain-timeout", "abandoned", "abandoned", "abandoned", "interrupt"]
    assert [report.state for report in engine.reports if report.event == "abandoned"] == [
        "queued",
        "queued",
        "running",
    ]
    engine.advance(1.0)
    assert events(engine)[6:] == ["overstayed", "kill"]
    engine.advance(0.001)
    assert engine.scheduler.is_drained


def test_a_job_that_ran_is_said_to_be_safe_to_send_again_only_if_it_is() -> None:
    """The drain's answer to work that has begun is retryable only where it may run twice."""
    engine = ready(lane(idempotent=False))
    jobs = [engine.submit(behaviour=Behaviour.STUCK) for _ in range(2)]
    engine.drain(0.0)
    engine.advance(0.0)
    assert [job.outcome.retryable for job in jobs] == [False, True]


def test_a_drain_while_workers_start_ends_them() -> None:
    """No job needs these workers, so the drain does not wait for their set-up."""
    engine = FakeEngine()
    engine.start()
    assert "Kill" in names(engine.receive(on.DrainRequested(30.0)))
    engine.advance(0.01)
    assert engine.scheduler.is_drained


def test_a_drain_while_workers_start_waits_for_admitted_work() -> None:
    """A worker that is still starting finishes the jobs admitted before the drain."""
    engine = FakeEngine()
    engine.start()
    job = engine.submit()
    engine.drain()
    engine.advance(1.0)
    assert code(job) == "ok"
    assert engine.scheduler.is_drained


def test_a_worker_that_dies_while_draining_is_replaced_only_for_work() -> None:
    """A lost job gets a new worker; if there is nothing to do, none is started."""
    engine = ready()
    job = engine.submit(behaviour=Behaviour.SLOW)
    engine.drain()
    engine.workers[1].exit("SIGKILL")
    engine.advance(5.0)
    assert (code(job), job.attempts) == ("ok", 2)
    assert engine.scheduler.is_drained
    assert events(engine).count("restart") == 1


def test_a_worker_that_dies_idle_while_draining_is_not_replaced() -> None:
    """Between the order to stop and the exit, a crash counts as an exit."""
    engine = ready()
    engine.drain()
    engine.workers[1].exit("SIGKILL")
    assert engine.scheduler.is_drained
    assert "restart" not in events(engine)


def test_a_drain_during_a_back_off_starts_nothing() -> None:
    """A place that waits for its next worker stays empty if there is no work."""
    engine = ready()
    for _ in range(2):
        next(iter(engine.workers.values())).exit("SIGKILL")
        engine.advance(0.2)
    assert not engine.workers
    engine.drain()
    engine.advance(10.0)
    assert engine.scheduler.is_drained
    assert not engine.workers


def test_a_drain_during_a_back_off_waits_for_admitted_work() -> None:
    """If work is queued, the next worker is started after all."""
    engine = ready()
    for _ in range(2):
        next(iter(engine.workers.values())).exit("SIGKILL")
        engine.advance(0.2)
    job = engine.submit()
    engine.drain()
    engine.advance(10.0)
    assert code(job) == "ok"
    assert engine.scheduler.is_drained


def test_the_second_request_to_drain_changes_nothing() -> None:
    """The deadline stays that of the first request."""
    engine = ready()
    job = engine.submit(behaviour=Behaviour.STUCK)
    engine.drain(1.0)
    engine.drain(0.0)
    engine.advance(0.5)
    assert code(job) is None
    engine.advance(0.5)
    assert code(job) == "draining"


def test_a_drain_lets_idle_workers_go_while_others_finish() -> None:
    """Each worker is stopped when it has nothing left to do."""
    engine = ready(workers=2)
    engine.submit(behaviour=Behaviour.SLOW)
    engine.drain()
    engine.advance(0.5)
    assert list(engine.workers) == [1]
