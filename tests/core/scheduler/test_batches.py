"""Batches: when they are sent, which jobs they contain, and how their members are answered."""

from __future__ import annotations

import pytest

from penstock.errors import HandlerError
from penstock.policies import Batching, Timeouts
from penstock.scheduler import Job
from penstock.scheduler import events as on
from penstock.testing import Behaviour, FakeEngine
from tests.core.scheduler.scheduling import code, codes, events, lane, ready


def batching(max_size: int = 4, max_wait: float = 0.25, *, workers: int = 1, **options: object) -> FakeEngine:
    """Return an engine with one lane that batches."""
    return ready(lane(batching=Batching(max_size=max_size, max_wait=max_wait), **options), workers=workers)


def batches(engine: FakeEngine) -> list[list[Job]]:
    """Return the jobs of each attempt."""
    return [attempt.jobs for attempt in engine.scheduler.attempts.values()]


def test_a_full_batch_goes_at_once() -> None:
    """No job waits for company once the batch has no room left."""
    engine = batching(max_size=2)
    first = engine.submit()
    assert batches(engine) == []
    second = engine.submit()
    assert batches(engine) == [[first, second]]


def test_the_first_job_waits_no_longer_than_max_wait() -> None:
    """A batch that does not fill is sent ``max_wait`` after its first job arrived."""
    engine = batching()
    first = engine.submit()
    engine.advance(0.125)
    second = engine.submit()
    engine.advance(0.124)
    assert batches(engine) == []
    engine.advance(0.001)
    assert batches(engine) == [[first, second]]


def test_no_more_than_max_size_go_together() -> None:
    """The remaining jobs wait for their own turn, counted from their own arrival."""
    engine = batching(max_size=2, workers=2)
    jobs = [engine.submit() for _ in range(3)]
    assert batches(engine) == [jobs[:2]]
    engine.advance(0.25)
    assert batches(engine) == [jobs[2:]]


def test_a_job_may_be_several_items_of_a_batch() -> None:
    """``max_size`` bounds the sum of the items: a batch that is full of them goes at once, without the next job."""
    engine = batching(max_size=4, workers=3)
    first, second, third = engine.submit(items=1), engine.submit(items=2), engine.submit(items=3)
    assert batches(engine) == [[first, second]]
    fourth = engine.submit(items=1)
    assert batches(engine) == [[first, second], [third, fourth]]


def test_a_job_with_more_items_than_a_batch_goes_alone() -> None:
    """It waits for no company; what is to become of it is the worker's affair."""
    engine = batching(max_size=4, workers=2)
    large = engine.submit(items=5)
    assert batches(engine) == [[large]]
    assert engine.submit(items=1).attempt is None


def test_items_that_leave_the_queue_count_no_more() -> None:
    """A job that was cancelled no longer fills a batch."""
    engine = batching(max_size=4)
    engine.cancel(engine.submit(items=3))
    first, second = engine.submit(items=2), engine.submit(items=1)
    assert batches(engine) == []
    third = engine.submit(items=1)
    assert batches(engine) == [[first, second, third]]


def test_an_overdue_batch_goes_with_the_first_free_worker() -> None:
    """While all workers are busy the batch goes on filling; it is sent as soon as one is free."""
    engine = batching()
    engine.submit(behaviour=Behaviour.SLOW)
    engine.advance(0.25)
    jobs = [engine.submit() for _ in range(3)]
    engine.advance(1.0)
    assert batches(engine) == [jobs]


@pytest.mark.parametrize("limit", ["queue", "total"])
def test_nobody_spends_its_whole_time_on_waiting_for_company(limit: str) -> None:
    """A batch is sent when half of any member's time is over, whichever member that is."""
    engine = batching(max_wait=9.0)
    engine.submit()
    engine.advance(0.5)
    hurried = engine.submit(timeouts=Timeouts(**{limit: 0.5}))
    engine.advance(0.249)
    assert batches(engine) == []
    engine.advance(0.001)
    (batch,) = batches(engine)
    assert hurried in batch


def test_an_empty_queue_leaves_no_hurry_behind() -> None:
    """Once every waiting job has left, the next one may wait the whole ``max_wait`` again."""
    engine = batching()
    engine.submit(behaviour=Behaviour.STUCK, timeouts=Timeouts(execution=0.5))
    engine.advance(0.25)
    engine.cancel(engine.submit(timeouts=Timeouts(queue=0.5)))
    engine.advance(1.0)
    assert batches(engine) == []
    engine.submit()
    engine.advance(0.249)
    assert batches(engine) == []
    engine.advance(0.001)
    assert len(batches(engine)) == 1


def test_one_bad_item_fails_alone() -> None:
    """Each member has its own result."""
    engine = batching(max_size=3)
    jobs = [engine.submit(behaviour=Behaviour(fails=position == 1)) for position in range(3)]
    engine.advance(0.01)
    assert codes(*jobs) == ["ok", "handler-error", "ok"]


def test_a_member_whose_time_is_over_is_answered_and_the_rest_goes_on() -> None:
    """A batch is not interrupted for one member; the late result of that member is discarded."""
    engine = batching(max_size=2)
    hurried = engine.submit(behaviour=Behaviour.SLOW, timeouts=Timeouts(execution=0.5))
    patient = engine.submit(behaviour=Behaviour.SLOW)
    engine.advance(0.5)
    assert codes(hurried, patient) == ["execution-timeout", None]
    assert events(engine) == []
    engine.advance(0.5)
    assert codes(hurried, patient) == ["execution-timeout", "ok"]
    assert engine.answered == [hurried, patient]


def test_a_batch_that_nobody_waits_for_is_interrupted() -> None:
    """When the last member has left, the attempt is stopped, once."""
    engine = batching(max_size=2)
    jobs = [engine.submit(behaviour=Behaviour.STUCK) for _ in range(2)]
    engine.cancel(jobs[0])
    assert events(engine) == []
    engine.cancel(jobs[1])
    assert events(engine) == ["interrupt"]


def test_the_deadline_of_a_batch_is_that_of_its_last_member() -> None:
    """The worker receives one deadline that covers all members; if one member has no limit, there is none."""
    engine = batching(max_size=2)
    engine.submit(behaviour=Behaviour.STUCK, timeouts=Timeouts(execution=1.0))
    job = engine.submit(behaviour=Behaviour.STUCK, timeouts=Timeouts(execution=9.0, total=2.0))
    assert job.attempt is not None
    assert job.attempt.deadline() == 3.0
    engine = batching(max_size=1)
    job = engine.submit(behaviour=Behaviour.STUCK, timeouts=Timeouts(execution=None))
    assert job.attempt is not None
    assert job.attempt.deadline() == float("inf")


def test_a_wrong_number_of_results_is_refused() -> None:
    """Each job needs a result: the engine must not pass in fewer."""
    engine = batching(max_size=2)
    job = engine.submit()
    engine.submit()
    assert job.attempt is not None
    with pytest.raises(ValueError, match="has ended with 1 results"):
        engine.receive(on.ResultsArrived(job.attempt.id, 0.1, [HandlerError()]))


def test_members_that_left_the_queue_are_not_in_the_batch() -> None:
    """A job that was cancelled or expired while it waited for company never reaches a worker."""
    engine = batching(max_size=3)
    left, stays = engine.submit(), engine.submit()
    engine.cancel(left)
    engine.advance(0.25)
    assert batches(engine) == [[stays]]
    assert (code(left), left.attempts) == ("cancelled", 0)
