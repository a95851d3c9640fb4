"""Spare slots: how many more jobs of a lane would begin at once."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.policies import Batching
from penstock.scheduler import LaneSpec
from penstock.scheduler import events as on
from penstock.testing import Behaviour, FakeEngine
from tests.core.scheduler.scheduling import lane, ready

LONG = Behaviour(seconds=60.0)


def spare(engine: FakeEngine, name: str = "lane") -> int:
    return engine.scheduler.spare_slots(engine.scheduler.lanes[name])


def test_an_idle_pool_has_all_its_slots() -> None:
    """Two workers with four units each have room for eight jobs of one unit, or four of two."""
    small, large = LaneSpec(name="small", units=1), LaneSpec(name="large", units=2)
    engine = ready(small, large, workers=2, capacity=4)
    assert (spare(engine, "small"), spare(engine, "large")) == (8, 4)


def test_a_running_job_has_a_slot() -> None:
    """It is spare again when the job has ended."""
    engine = ready(lane(), workers=2)
    engine.submit(behaviour=Behaviour(seconds=1.0))
    assert spare(engine) == 1
    engine.advance(1.0)
    assert spare(engine) == 2


def test_as_many_jobs_as_there_are_spare_slots_begin_at_once() -> None:
    """The answer is exact: one more would wait."""
    engine = ready(LaneSpec(name="lane", units=2), workers=2, capacity=5)
    for _ in range(spare(engine)):
        assert engine.submit(behaviour=LONG).attempt is not None
    assert spare(engine) == 0
    assert engine.submit(behaviour=LONG).attempt is None


def test_while_jobs_of_the_pool_wait_there_are_none() -> None:
    """Even if the units that are free would do for a small one: the large one that waits comes first."""
    engine = ready(LaneSpec(name="small", units=1), LaneSpec(name="large", units=2), workers=1, capacity=3)
    engine.submit("large", behaviour=LONG)
    assert spare(engine, "small") == 1
    engine.submit("large", behaviour=LONG)
    assert spare(engine, "small") == 0


def test_a_batch_has_room_for_as_many_as_it_takes() -> None:
    """Those that wait for company leave the rest of it; a full batch runs, and then there is none."""
    engine = ready(lane(batching=Batching(max_size=4, max_wait=0.25)))
    assert spare(engine) == 4
    engine.submit(behaviour=LONG)
    assert spare(engine) == 3
    for _ in range(3):
        engine.submit(behaviour=LONG)
    assert spare(engine) == 0


@pytest.mark.parametrize("event", [on.PauseRequested("me", ""), on.DrainRequested(100.0)], ids=["pause", "drain"])
def test_a_closed_intake_has_none(event: Any) -> None:
    """A job that would be refused has no slot."""
    engine = ready(lane())
    engine.receive(event)
    assert spare(engine) == 0


def test_slots_are_counted_whether_free_or_not() -> None:
    """They are those of the workers that take work."""
    engine = ready(lane(batching=Batching(max_size=4, max_wait=0.0)), workers=2)
    engine.submit(behaviour=LONG)
    assert engine.scheduler.slots(engine.scheduler.lanes["lane"]) == 8
