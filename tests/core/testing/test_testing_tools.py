"""The test tools that Penstock ships."""

from __future__ import annotations

import math

import pytest

from penstock.errors import HandlerError
from penstock.policies import Timeouts
from penstock.testing import Behaviour, InvariantBroken, MockClock, check
from tests.core.scheduler.scheduling import code, lane, ready


def test_the_clock_moves_on_demand() -> None:
    """Calling it changes nothing, and it never goes back."""
    clock = MockClock(5.0)
    assert (clock(), clock()) == (5.0, 5.0)
    clock.advance(1.5)
    clock.jump(10.0)
    assert (clock.now, repr(clock)) == (10.0, "<MockClock at 10>")
    for seconds in (-1.0, math.nan):
        with pytest.raises(ValueError, match="a monotonic clock"):
            clock.advance(seconds)


@pytest.mark.parametrize(
    ("behaviour", "answer", "worker"),
    [
        (Behaviour.QUICK, "ok", 1),
        (Behaviour.SLOW, "ok", 1),
        (Behaviour.FAILING, "handler-error", 1),
        (Behaviour.STUCK, "execution-timeout", 1),
        (Behaviour.STUCK_HARD, "execution-timeout", 2),
        (Behaviour.CRASHER, "worker-lost", 3),
    ],
)
def test_fake_workers_behave_as_requested(behaviour: Behaviour, answer: str, worker: int) -> None:
    """Each behaviour leads to its answer, and some cost the worker."""
    engine = ready(lane(timeouts=Timeouts(execution=2.0)))
    job = engine.submit(behaviour=behaviour)
    engine.advance(10.0)
    assert code(job) == answer
    assert list(engine.workers) == [worker]
    assert repr(engine.workers[worker]) == f"<FakeWorker {worker}: alive, 0 attempts>"


def test_a_behaviour_determines_the_answer() -> None:
    """Success is a result; failure is an error."""
    assert isinstance(Behaviour.FAILING.result(), HandlerError)
    assert Behaviour.QUICK.result().body == b"1"


def test_the_invariants_say_what_is_broken() -> None:
    """A failing recount names the object and both numbers."""
    engine = ready()
    engine.submit(behaviour=Behaviour.STUCK)
    check(engine.scheduler)
    engine.scheduler.state.jobs_live += 1
    with pytest.raises(InvariantBroken, match="counts 2 live jobs, but there are 1"):
        check(engine.scheduler)
