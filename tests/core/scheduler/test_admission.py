"""Pauses: out of rotation and back."""

from __future__ import annotations

from penstock.scheduler import events as on
from penstock.scheduler.reports import AbandonReport, PauseReport, ResumeReport
from penstock.scheduler.states import PAUSED
from penstock.testing import Behaviour
from tests.core.scheduler.scheduling import code, codes, events, ready


def test_out_of_rotation_nothing_new_is_taken() -> None:
    """The refusal says that the job may be sent again, elsewhere; admitted jobs go on, and the workers stay."""
    engine = ready()
    jobs = [engine.submit(), engine.submit()]
    engine.pause()
    refused = engine.submit()
    assert (code(refused), refused.outcome.retryable) == ("draining", True)
    assert refused.outcome.detail == "the server has been taken out of rotation"
    engine.advance(60.0)
    assert codes(*jobs) == ["ok", "ok"]
    assert list(engine.workers) == [1]


def test_out_of_rotation_it_is_not_ready_and_not_draining() -> None:
    """A load balancer sends its work elsewhere, but the process is not about to end."""
    engine = ready()
    engine.pause()
    assert engine.scheduler.unready_reasons() == ["taken out of rotation"]
    assert (engine.scheduler.state.intake is PAUSED, engine.scheduler.is_draining, engine.scheduler.is_drained) == (
        True,
        False,
        False,
    )
    assert repr(engine.scheduler) == "<Scheduler paused: 0 queued, 0 attempts, 1 workers>"


def test_back_in_rotation_it_takes_work_again() -> None:
    """New work is accepted as if there had been no pause."""
    engine = ready()
    engine.pause()
    engine.resume()
    assert engine.scheduler.unready_reasons() == []
    job = engine.submit()
    engine.advance(1.0)
    assert code(job) == "ok"


def test_who_and_why_are_told_once() -> None:
    """Asking for the present state again changes nothing, and is not an error."""
    engine = ready()
    engine.submit(behaviour=Behaviour.SLOW)
    engine.receive(on.ResumeRequested("ops", "early"))
    for why in ("deploy", "again"):
        engine.receive(on.PauseRequested("ops", why))
    for why in ("done", "again"):
        engine.receive(on.ResumeRequested("ops", why))
    assert engine.reports == [PauseReport("ops", "deploy", jobs=1), ResumeReport("ops", "done", jobs=1)]


def test_a_worker_that_is_lost_out_of_rotation_is_replaced() -> None:
    """A replacement is started at once, so that it is warm when the instance comes back."""
    engine = ready()
    engine.pause()
    engine.workers[1].exit("SIGKILL")
    engine.advance(1.0)
    assert list(engine.workers) == [2]


def test_a_drain_may_begin_out_of_rotation() -> None:
    """A drain during a pause ends as any other does."""
    engine = ready()
    job = engine.submit()
    engine.pause()
    engine.drain()
    assert engine.submit().outcome.detail == "the server is shutting down"
    engine.advance(1.0)
    assert code(job) == "ok"
    assert engine.scheduler.is_drained


def test_there_is_no_way_back_from_a_drain() -> None:
    """Neither a pause nor its end undoes a drain."""
    engine = ready()
    engine.submit(behaviour=Behaviour.SLOW)
    engine.drain()
    engine.pause()
    engine.resume()
    assert engine.scheduler.unready_reasons() == ["draining"]
    assert events(engine) == ["drain"]
    assert code(engine.submit()) == "draining"


def test_a_drain_counts_what_it_finds() -> None:
    """It counts the jobs that came to their own end, whatever that was, and the jobs that it abandoned."""
    engine = ready()
    early = engine.submit()
    engine.advance(0.5)
    finished, failed = engine.submit(), engine.submit(behaviour=Behaviour.FAILING)
    gone = engine.submit()
    stuck = [engine.submit(behaviour=Behaviour.STUCK) for _ in range(2)]
    state = engine.scheduler.state
    assert (state.drain_answered, state.drain_abandoned) == (0, 0)
    engine.drain(2.0)
    engine.cancel(gone)
    engine.advance(1.0)
    assert (state.drain_answered, state.drain_abandoned) == (3, 0)
    engine.advance(2.0)
    assert (state.drain_answered, state.drain_abandoned) == (3, 2)
    assert codes(early, finished, failed, gone, *stuck) == [
        "ok",
        "ok",
        "handler-error",
        "cancelled",
        "draining",
        "draining",
    ]


def test_each_abandoned_job_is_reported_with_what_it_was_doing() -> None:
    """The report comes before the answer: afterwards the job's state would show only that it was answered."""
    engine = ready()
    running, queued = [engine.submit(behaviour=Behaviour.STUCK) for _ in range(2)]
    engine.drain(0.0)
    engine.advance(0.0)
    abandoned = [report for report in engine.reports if isinstance(report, AbandonReport)]
    assert [(report.job, report.state) for report in abandoned] == [(queued, "queued"), (running, "running")]
