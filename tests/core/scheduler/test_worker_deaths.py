"""Deaths of workers that come together, and workers that cannot be believed any more."""

from __future__ import annotations

import pytest

from penstock.scheduler import events as on
from penstock.scheduler.reports import KillReport
from penstock.testing import Behaviour
from tests.core.scheduler.scheduling import code, events, lane, ready


def test_no_job_goes_from_one_dead_worker_to_another() -> None:
    """Deaths are announced before their exits are reported one by one; meanwhile none of the dead gets work."""
    engine = ready(workers=3)
    jobs = [engine.submit(behaviour=Behaviour.SLOW) for _ in range(2)]
    engine.receive(on.WorkersDied([1, 2, 3]))
    for worker in (1, 2, 3):
        engine.workers[worker].exit("SIGKILL")
        assert [job.attempts for job in jobs] == [1, 1]
    engine.advance(3.0)
    assert [(code(job), job.attempts, job.deaths) for job in jobs] == [("ok", 2, 1)] * 2


def test_what_the_dead_have_left_behind_still_counts() -> None:
    """A result that arrives after the announcement is the job's; its worker gets no other job for it."""
    engine = ready()
    first, second = engine.submit(), engine.submit()
    engine.receive(on.WorkersDied([1]))
    assert first.attempt is not None
    engine.receive(on.ResultsArrived(first.attempt.id, 0.01, [first.behaviour.result()]))
    assert (code(first), second.attempts) == ("ok", 0)
    engine.workers[1].exit("SIGKILL")
    engine.advance(1.0)
    assert (code(second), second.attempts, second.deaths) == ("ok", 1, 0)


def test_a_place_is_filled_when_the_exit_is_reported() -> None:
    """Not before: the report says how the worker has ended, and after which delay there is another."""
    engine = ready()
    engine.receive(on.WorkersDied([1]))
    engine.advance(10.0)
    assert list(engine.workers) == [1]
    engine.workers[1].exit("SIGKILL")
    assert list(engine.workers) == [2]
    assert events(engine) == ["worker-lost", "restart"]


def test_a_late_word_of_the_dead_fills_no_place() -> None:
    """A worker that reports ready, and whose death is known already, is on no probation that could end in another."""
    engine = ready()
    engine.workers[1].exit("SIGKILL")
    engine.receive(on.WorkersDied([2]))
    engine.advance(100.0)
    assert list(engine.workers) == [2]


@pytest.mark.parametrize(("started", "deaths"), [(None, 1), (0, 0)], ids=["unknown", "none"])
def test_a_worker_that_breaks_the_protocol_is_killed(started: int | None, deaths: int) -> None:
    """Its jobs run elsewhere, as suspects if it is not known which was running, and its place backs off."""
    engine = ready(workers=2)
    job = engine.submit(behaviour=Behaviour.SLOW)
    engine.receive(on.ProtocolBroken(1, "it lies", started))
    (report,) = [report for report in engine.reports if isinstance(report, KillReport)]
    assert report.reason == "it broke the protocol: it lies"
    assert (job.attempt.worker.id, job.deaths) == (2, deaths)
    engine.advance(3.0)
    assert code(job) == "ok"
    assert engine.scheduler.pools["default"].places[0].failures == 1


def test_a_breach_is_settled_once() -> None:
    """Further breaches of a worker that has been killed change nothing, and neither does its exit."""
    engine = ready(lane(idempotent=False), workers=2)
    job = engine.submit(behaviour=Behaviour.SLOW)
    engine.receive(on.ProtocolBroken(1, "it lies"))
    assert code(job) == "worker-lost"
    engine.receive(on.ProtocolBroken(1, "it lies again"))
    engine.advance(1.0)
    assert events(engine) == ["kill", "restart", "worker-ready"]
