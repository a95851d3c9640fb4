"""The scheduler's records: states, timers, counts and status lines; and the cost of a job."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest

from penstock.policies import Timeouts
from penstock.response import Encoded
from penstock.scheduler import Job, Lane, LaneSpec, PoolSpec, Scheduler, states
from penstock.scheduler import events as on
from penstock.scheduler.lanes import FifoQueue
from penstock.scheduler.states import ATTEMPT, FINAL, JOB, WORKER, IllegalTransition, Row
from penstock.scheduler.timers import NEVER, Timed, Timers
from penstock.testing import Behaviour
from tests.core.scheduler.scheduling import lane, ready

TABLES = {"job": JOB, "attempt": ATTEMPT, "worker": WORKER}

# ---- states


@pytest.mark.parametrize("noun", TABLES)
def test_every_state_can_be_reached(noun: str) -> None:
    """Every state of a table can be reached from its first one, and no transition leads out of the table."""
    table = TABLES[noun]
    reached: set[str] = set()
    ahead = [next(iter(table))]
    while ahead:
        state = ahead.pop()
        if state not in reached:
            reached.add(state)
            ahead += table[state].values()
    assert reached == set(table)


def test_an_answered_job_stays_answered() -> None:
    """The final states are exactly those without an exit."""
    assert {state for state, row in JOB.items() if not row} == FINAL


@pytest.mark.parametrize("noun", TABLES)
def test_what_is_not_in_the_table_raises(noun: str) -> None:
    """A missing entry is a bug; the error names the transition that was tried."""
    for state, row in TABLES[noun].items():
        with pytest.raises(IllegalTransition, match=f"^a {noun} that is {state} cannot fly$"):
            row["fly"]


def test_a_row_knows_itself() -> None:
    """The tables are plain dicts, except for the error about a missing entry."""
    row = Row("job", states.QUEUED, {"start": states.RUNNING})
    assert row == {"start": "running"}
    assert (row.noun, row.state) == ("job", "queued")


# ---- timers


def test_timers_come_up_in_their_order() -> None:
    """Timers come up in the order of their instants, each once."""
    timers, owners = Timers(), [Timed() for _ in range(5)]
    for when, owner in zip((3.0, 1.0, 2.0, 1.0, 9.0), owners, strict=True):
        timers.arm(owner, when)
    popped = [timers.pop_due(5.0) for _ in range(5)]
    assert popped == [owners[1], owners[3], owners[2], owners[0], None]
    assert timers.next() == 9.0


def test_a_timer_moved_later_costs_nothing_until_it_comes_up() -> None:
    """Its entry stays where it is; when it comes up early, it is put back without calling the owner."""
    timers, owner = Timers(), Timed()
    timers.arm(owner, 1.0)
    for when in (2.0, 3.0, 4.0):
        timers.arm(owner, when)
    assert (len(timers), owner.armed, owner.due) == (1, 1.0, 4.0)
    assert timers.pop_due(1.0) is None
    assert (len(timers), owner.armed) == (1, 4.0)
    assert timers.pop_due(4.0) is owner
    assert (owner.due, owner.armed) == (NEVER, NEVER)


def test_a_timer_moved_earlier_comes_up_earlier_and_once() -> None:
    """The entry that it leaves behind calls no owner."""
    timers, owner = Timers(), Timed()
    timers.arm(owner, 5.0)
    timers.arm(owner, 1.0)
    assert timers.next() == 1.0
    assert [timers.pop_due(9.0), timers.pop_due(9.0)] == [owner, None]


def test_a_cancelled_timer_is_forgotten() -> None:
    """It calls no owner, causes no wake-up, and the heap does not keep the owner alive."""

    class Body(Timed):
        __slots__ = ("__weakref__",)

    timers, owner = Timers(), Body()
    timers.arm(owner, 1.0)
    timers.disarm(owner)
    reference = weakref.ref(owner)
    del owner
    assert reference() is None
    assert (len(timers), timers.next()) == (1, NEVER)


def test_never_is_no_timer() -> None:
    """Arming a timer for ``NEVER`` makes no entry."""
    timers = Timers()
    timers.arm(Timed(), NEVER)
    assert (len(timers), timers.pop_due(1e300)) == (0, None)


def test_cancelled_timers_do_not_pile_up() -> None:
    """100,000 armed and cancelled entries leave a heap of a few hundred."""
    timers, kept = Timers(), Timed()
    timers.arm(kept, 1e6)
    largest = 0
    for number in range(100_000):
        owner = Timed()
        timers.arm(owner, 1000.0 + number)
        timers.disarm(owner)
        largest = max(largest, len(timers))
    assert largest <= 513
    assert timers.pop_due(1e6) is kept


def test_live_timers_survive_the_rebuild() -> None:
    """The heap shrinks to at most twice the live entries, and loses none of them."""
    timers = Timers()
    owners = [Timed() for _ in range(3000)]
    for number, owner in enumerate(owners):
        timers.arm(owner, float(number % 7))
        if number % 3:
            timers.disarm(owner)
    assert len(timers) <= 2 * 1000 + 1
    popped = []
    while (owner := timers.pop_due(10.0)) is not None:
        popped.append(owner)
    assert len(popped) == len(set(popped)) == 1000


# ---- queues


def test_a_fifo_queue_keeps_order_and_bytes() -> None:
    """Jobs enter at the end, or return at the front; they leave at the front, or from anywhere."""
    queue, target = FifoQueue(), Lane(LaneSpec(name="lane"))
    jobs = [Job(target, Timeouts(), size) for size in (1, 2, 4, 8)]
    for sequence, job in enumerate(jobs):
        job.sequence = sequence
        queue.push(job, 0.0)
    queue.remove(jobs[2], "cancel", 0.0)
    first = queue.pop(0.0)
    queue.push_front(first, 0.0)
    assert (list(queue), len(queue), queue.size_bytes) == ([jobs[0], jobs[1], jobs[3]], 3, 11)
    assert queue.head(0.0) is jobs[0]


def test_what_is_put_back_stands_where_it_was() -> None:
    """Jobs that come back from several workers, in any order, are in order of arrival again."""
    queue, target = FifoQueue(), Lane(LaneSpec(name="lane"))
    jobs = [Job(target, Timeouts()) for _ in range(6)]
    for sequence, job in enumerate(jobs):
        job.sequence = sequence
        queue.push(job, 0.0)
    taken = [queue.pop(0.0) for _ in range(4)]
    for position in (1, 3, 0, 2):
        queue.push_front(taken[position], 0.0)
    assert list(queue) == jobs


# ---- counts


def test_a_lane_counts_what_an_operator_asks_for() -> None:
    """The queue, the totals by outcome and the times are plain data."""
    engine = ready(lane(max_queue=1))
    engine.submit()
    engine.advance(0.01)
    for _ in range(3):
        engine.submit(behaviour=Behaviour.STUCK, size_bytes=7)
    assert engine.scheduler.lanes["lane"].statistics() == {
        "pool": "default",
        "queued": 1,
        "queued_bytes": 7,
        "running": 1,
        "backing_off": 0,
        "totals": {"ok": 1, "queue-full": 1},
        "useful_seconds": 0.01,
        "wasted_seconds": 0.0,
        "queue_seconds": {"p50": 0.0, "p90": 0.0, "p99": 0.0},
        "execution_seconds": {"p50": 0.01, "p90": 0.01, "p99": 0.01},
    }


def test_an_unused_lane_has_no_times() -> None:
    """A quantile of no samples is None, and not 0."""
    scheduler = Scheduler([PoolSpec(name="default")], [lane()])
    assert scheduler.lanes["lane"].statistics()["queue_seconds"] is None


def test_quantiles_are_those_of_the_latest_times() -> None:
    """Each endpoint keeps a bounded number of samples."""
    engine = ready()
    for milliseconds in range(1, 101):
        engine.submit(behaviour=Behaviour(seconds=milliseconds / 1000))
        engine.advance(1.0)
    times = engine.scheduler.lanes["lane"].statistics()["execution_seconds"]
    assert times["p50"] == pytest.approx(0.0505, abs=0.001)
    assert times["p99"] == pytest.approx(0.099, abs=0.001)


# ---- status lines


def test_a_repr_is_a_status_line() -> None:
    """It states on one line what a person needs to know."""
    engine = ready(capacity=2)
    running = engine.submit(behaviour=Behaviour.STUCK)
    for _ in range(2):
        engine.submit(behaviour=Behaviour.STUCK)
    scheduler = engine.scheduler
    assert repr(scheduler) == "<Scheduler open: 1 queued, 2 attempts, 1 workers>"
    assert repr(scheduler.lanes["lane"]) == "<Lane lane: 1 queued, 2 running>"
    assert repr(scheduler.pools["default"]) == "<WorkerPool default: busy>"
    assert repr(scheduler.workers[1]) == "<Worker 1 (default/0): busy, 2 attempts, 0 free>"
    assert repr(running) == "<Job 1 of lane: running, attempts 1, deaths 0>"
    assert repr(running.attempt) == "<Attempt 1 of lane: running, 1/1 jobs live>"
    engine.drain()
    assert repr(scheduler) == "<Scheduler draining: 1 queued, 2 attempts, 1 workers>"


# ---- costs


def calls_per_job(queued: int, jobs: int = 200) -> float:
    """Return the function calls that a job costs from arrival to answer, with ``queued`` others in the queue."""
    scheduler = Scheduler([PoolSpec(name="default")], [lane(max_queue=10**6)])
    target = scheduler.lanes["lane"]
    scheduler.receive(on.StartRequested(), 0.0)
    scheduler.receive(on.SetupFinished(1, 0.0), 0.0)
    for _ in range(queued):
        scheduler.receive(on.Submitted(Job(target, target.timeouts)), 0.0)
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        for number in range(jobs):
            scheduler.receive(on.Submitted(Job(target, target.timeouts)), number / 1000)
            (attempt,) = scheduler.attempts
            scheduler.receive(on.ResultsArrived(attempt, 0.0, [Encoded(b"")]), number / 1000)
            scheduler.next_wakeup()
    finally:
        sys.setprofile(None)
    return count / jobs


def test_a_job_costs_the_same_behind_any_queue() -> None:
    """The work for each job does not grow with the number of queued jobs."""
    few, many = calls_per_job(100), calls_per_job(10_000)
    assert many <= 2 * few
    assert few <= 100


def test_an_answered_job_is_not_kept() -> None:
    """Once a job is answered, the scheduler holds no reference to it, whatever timers it had."""

    class Submitted(Job):
        """A job that supports weak references."""

        __slots__ = ("__weakref__",)

    engine = ready()
    target = engine.scheduler.lanes["lane"]
    job = Submitted(target, target.timeouts)
    reference = weakref.ref(job)
    engine.receive(on.Submitted(job))
    engine.advance(0.01)
    engine.answered.clear()
    del job
    gc.collect()
    assert reference() is None
