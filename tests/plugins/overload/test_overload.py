"""Overload: the order of jobs, which jobs are refused or shed, and the estimates behind that."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.app import App, Endpoint
from penstock.errors import DeadlineInfeasible, MalformedRequest, PluginError
from penstock.hooks import Job, Principal, Submission, Timeouts
from penstock.hooks.registry import Registry
from penstock.policies import Batching
from penstock_overload import (
    Adaptive,
    CoDel,
    Discipline,
    EarliestDeadlineFirst,
    Fifo,
    Lifo,
    OverloadPlugin,
    OverloadSettings,
)
from penstock_overload.disciplines import AGEING, SPARED
from penstock_overload.estimates import DOUBT_AFTER, Executions, Patience, Quantile
from penstock_overload.levels import EARLIEST, NEWEST, OLDEST, Level

ALL = [Fifo, Lifo, EarliestDeadlineFirst, CoDel, Adaptive]


def endpoint(name: str = "square") -> Endpoint:
    app = App("tests")

    @app.endpoint(f"/{name}")
    def square(input: float) -> float:
        return input**2

    return app.endpoints[0]


class Jobs:
    """A maker of jobs, each newer than the one before."""

    def __init__(self, batching: Batching | None = None) -> None:
        self.lane: Any = SimpleNamespace(name="lane", batching=batching)
        self.made = 0

    def __call__(
        self, *, at: float = 0.0, share: str = "", priority: int = 1, total: float | None = None, size: int = 1
    ) -> Job:
        self.made += 1
        job = Job(self.lane, Timeouts(total=total), size, priority=priority, share=share)
        job.sequence, job.arrived = self.made, at
        job.start_by = at + 30.0
        job.finish_by = math.inf if total is None else at + total
        return job


def filled(queue: Discipline, jobs: Iterable[Job], now: float = 0.0) -> list[Job]:
    jobs = list(jobs)
    for job in jobs:
        queue.push(job, now)
    return jobs


def drained(queue: Discipline, now: float = 0.0, *, seconds: float = 0.0, most: int = 10**9) -> list[Job]:
    """Take all jobs out of the queue, one at each interval; return them in order."""
    out: list[Job] = []
    while len(queue) and len(out) < most:
        head = queue.head(now)
        out.append(queue.pop(now))
        assert out[-1] is head
        now += seconds
    return out


def numbers(jobs: Iterable[Job]) -> list[int]:
    return [job.sequence for job in jobs]


def shares(jobs: Iterable[Job]) -> str:
    return "".join(job.share for job in jobs)


# ---- the order of one caller's jobs


@pytest.mark.parametrize("kind", [Fifo, CoDel, Adaptive, EarliestDeadlineFirst])
def test_the_oldest_goes_first(kind: type[Discipline]) -> None:
    """Without deadlines, and while no queue stands, all of these disciplines go by arrival."""
    queue, new = kind(), Jobs()
    filled(queue, [new() for _ in range(5)])
    assert numbers(drained(queue)) == [1, 2, 3, 4, 5]


def test_lifo_takes_the_newest() -> None:
    """The newest job goes first, regardless of the others."""
    queue, new = Lifo(), Jobs()
    filled(queue, [new() for _ in range(5)])
    assert numbers(drained(queue)) == [5, 4, 3, 2, 1]


def test_edf_takes_the_earliest_deadline() -> None:
    """A job without a deadline goes last, and removed jobs are skipped."""
    queue, new = EarliestDeadlineFirst(), Jobs()
    jobs = filled(queue, [new(total=total) for total in (3.0, None, 1.0, 2.0, 1.0)])
    queue.remove(jobs[2], "cancel", 0.0)
    assert numbers(drained(queue)) == [5, 4, 1, 2]


def test_the_adaptive_turns_to_the_newest_when_a_queue_stands() -> None:
    """It turns when the oldest waits longer than callers endure, and back when a quarter of that wait is enough."""
    queue, new = Adaptive(), Jobs()
    filled(queue, [new(at=0.0) for _ in range(4)])
    assert queue.pop(0.0).sequence == 1
    assert queue.pop(0.2).sequence == 2  # one job each 0.2 s, so the last would wait for 0.6 s
    assert queue.pop(0.4).sequence == 4
    assert queue.pop(0.6).sequence == 3
    filled(queue, [new(at=0.6), new(at=0.6)], 0.6)
    assert queue.head(0.6).sequence == 6  # 2 x 0.2 s is still too much
    queue.remove(queue.head(0.6), "cancel", 0.6)
    filled(queue, [new(at=0.61)], 0.61)
    queue._drain.gap = 0.01
    assert queue.head(0.61).sequence == 5


def test_nobody_is_starved_where_nobody_hangs_up() -> None:
    """Callers who wait indefinitely are served in turn after a while, although the queue stands: see ``PATIENT``."""
    queue, new = Adaptive(), Jobs()
    first = [new(at=0.0) for _ in range(20)]
    filled(queue, first)
    waiting, now = set(numbers(first)), 0.0
    while waiting and now < 60.0:  # each that is served sends its next request at once
        waiting.discard(queue.pop(now).sequence)
        now += 0.05
        queue.learn(1, 0.05, now)
        queue.push(new(at=now), now)
    assert not waiting
    assert now < 10.0


@pytest.mark.parametrize("kind", ALL)
def test_what_is_put_back_goes_first(kind: type[Discipline]) -> None:
    """A job whose worker was lost has had its turn; several keep their order of arrival."""
    queue, new = kind(), Jobs()
    filled(queue, [new() for _ in range(4)])
    taken = [queue.pop(0.0), queue.pop(0.0)]
    filled(queue, [new()])
    for job in sorted(taken, key=lambda job: -job.sequence):
        queue.push_front(job, 0.0)
    assert numbers(drained(queue, most=2)) == sorted(numbers(taken))
    assert len(queue) == 3


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("seed", range(4))
def test_no_job_is_lost_or_doubled(kind: type[Discipline], seed: int) -> None:
    """After any sequence of push, put back, pop and remove, the queue holds the right jobs and the right size."""
    dice, new, queue = random.Random(seed), Jobs(), kind()
    held: dict[int, Job] = {}
    out: list[Job] = []
    now = 0.0
    for _ in range(3000):
        now += dice.expovariate(20.0)
        what = dice.random()
        if what < 0.5 or not held:
            total = dice.choice([None, 0.5, 2.0])
            job = new(
                at=now, share=dice.choice("abcde"), priority=dice.randrange(3), total=total, size=dice.randrange(9)
            )
            queue.push(job, now)
            held[job.sequence] = job
        elif what < 0.75:
            head = queue.head(now)
            assert queue.pop(now) is head
            out.append(held.pop(head.sequence))
            queue.learn(1, dice.random() / 10, now)
        elif what < 0.95 or not out:
            job = held.pop(dice.choice(list(held)))
            queue.remove(job, dice.choice(["cancel", "expire", "shed", "fail"]), now)
        else:
            job = out.pop()
            queue.push_front(job, now)
            held[job.sequence] = job
        assert queue.give_up_at(next(iter(held.values())), now) <= math.inf if held else True
    assert sorted(numbers(queue)) == sorted(held)
    assert queue.size_bytes == sum(job.size_bytes for job in held.values())
    assert sorted(numbers(drained(queue, now))) == sorted(held)
    assert queue.size_bytes == len(queue) == 0


# ---- priorities


@pytest.mark.parametrize("kind", ALL)
def test_the_more_urgent_go_first(kind: type[Discipline]) -> None:
    """Interactive before normal before batch, regardless of arrival."""
    queue, new = kind(), Jobs()
    filled(queue, [new(priority=priority) for priority in (2, 1, 0, 2, 1, 0)])
    assert [job.priority for job in drained(queue)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("kind", ALL)
def test_no_priority_is_starved(kind: type[Discipline]) -> None:
    """Under an endless stream of urgent jobs, the oldest batch job goes after a bounded number of them."""
    queue, new = kind(), Jobs()
    batch = filled(queue, [new(priority=2) for _ in range(3)])
    went: list[Job] = []
    for _ in range(4 * AGEING):
        filled(queue, [new(priority=0)])
        went.append(queue.pop(0.0))
    assert [job for job in went if job.priority == 2] == batch
    assert went.index(batch[0]) <= AGEING


# ---- fair shares


@pytest.mark.parametrize("kind", ALL)
def test_shares_take_turns(kind: type[Discipline]) -> None:
    """A caller with a hundred jobs gets no more than one with three, while both have some."""
    queue, new = kind(), Jobs()
    filled(queue, [new(share="g") for _ in range(100)] + [new(share="p") for _ in range(3)])
    went = shares(drained(queue, most=8))
    assert went.count("p") == 3
    assert "ggg" not in went[:6]


@pytest.mark.parametrize("kind", ALL)
def test_many_shares_are_served_alike(kind: type[Discipline]) -> None:
    """In a round each caller is served once, however unequal their numbers of jobs."""
    queue, new = kind(), Jobs()
    filled(queue, [new(share=share) for share in "aaaaaaaaaabbbbbcccdd"])
    went = shares(drained(queue))
    for turn in range(2):
        assert sorted(went[4 * turn : 4 * turn + 4]) == list("abcd")


def test_a_share_is_not_kept_waiting_by_strangers() -> None:
    """Newest first, and each other request from a new caller: a caller that was served is served again."""
    queue, new = Lifo(), Jobs()
    went = []
    for i in range(60):
        if i % 10 == 0:  # some of the other callers are never served
            filled(queue, [new(share=f"old{i}")])
        filled(queue, [new(share=f"new{i}"), new(share="p")])
        went.append(queue.pop(0.0).share)
    assert 3 <= went.count("p") <= 30


def test_the_memory_of_shares_is_bounded() -> None:
    """A hundred thousand callers that come and go leave nothing behind."""
    level, new = Level(NEWEST), Jobs()
    waiting = [new(share=f"s{i}") for i in range(10)]
    for job in waiting:
        level.push(job)
    for i in range(5000):
        level.push(new(share=f"n{i}"))
        level.pop(level.first())
    assert len(level.shares) == 10
    assert len(level._served) <= 10
    assert len(level._heap or ()) < 150


@pytest.mark.parametrize("order", [OLDEST, NEWEST, EARLIEST])
def test_the_first_of_several_shares_is_exact(order: Any) -> None:
    """Within a round the shares go by their first jobs, also after removals and after a change of the order."""
    dice, new, level = random.Random(7), Jobs(), Level(order)
    for _ in range(400):
        job = new(share=dice.choice("abcdefgh"), total=dice.random())
        level.push(job)
        if dice.random() < 0.4:
            level.remove(dice.choice(list(level.jobs.values())))
        if level.jobs:
            served = level._served if level._heap is not None and len(level.shares) > 1 else set()
            free = [job for job in level.jobs.values() if job.share not in served]
            if free:
                assert level.first() is min(free, key=order.rank)
        if dice.random() < 0.2 and level.jobs:
            level.pop(level.first())


# ---- deadlines that cannot be met


def test_a_deadline_shorter_than_an_execution_is_refused_at_the_door() -> None:
    """A job that takes 50 ms is refused if it has 20 ms; the message says so."""
    queue, new = Adaptive(), Jobs()
    for _ in range(10):
        queue.learn(1, 0.05, 0.0)
    refusal = queue.refusal(new(total=0.02), 0.0)
    assert isinstance(refusal, DeadlineInfeasible)
    assert str(refusal) == (
        "lane: the job would take about 0 s to start and 0.05 s to run, which is more than the 0.02 s it has left"
    )
    assert queue.refusal(new(total=0.06), 0.0) is None
    assert queue.refusal(new(), 0.0) is None
    assert queue.refusal(None, 0.0) is None
    assert queue.execution_seconds(0.0) == pytest.approx(0.05)


def test_a_refusal_is_final_only_if_an_empty_queue_would_not_help() -> None:
    """Where the queue is merely long, a retry may meet the same timeout; where the work takes longer, none can."""
    queue, new = Fifo(), Jobs()
    for _ in range(10):
        queue.learn(1, 0.1, 0.0)
    filled(queue, [new() for _ in range(12)])
    drained(queue, 0.0, seconds=0.1, most=2)
    for total, retryable in ((0.05, False), (0.9, True)):
        refusal = queue.refusal(new(total=total), 0.1)
        assert isinstance(refusal, DeadlineInfeasible)
        assert refusal.retryable is retryable


def test_an_unknown_execution_time_rules_out_no_retry() -> None:
    """Until an attempt has ended, nothing is known."""
    assert Fifo().execution_seconds(0.0) is None


def test_a_wait_that_is_too_long_is_refused_at_the_door() -> None:
    """By the rate at which the queue drains: ten jobs, one each 0.1 s."""
    queue, new = Fifo(), Jobs()
    filled(queue, [new() for _ in range(12)])
    drained(queue, 0.0, seconds=0.1, most=2)
    assert isinstance(queue.refusal(new(total=0.9), 0.1), DeadlineInfeasible)
    assert queue.refusal(new(total=1.1), 0.1) is None
    assert queue.retry_after(0.1) == pytest.approx(1.0)
    assert queue.refusal(new(total=0.25, share="somebody else"), 0.1) is None  # its turn comes sooner
    assert queue.refusal(new(total=0.9, priority=0), 0.1) is None


def test_the_wait_is_that_of_the_own_order() -> None:
    """Newest first: a newcomer does not wait for older jobs. Earliest first: it waits only for earlier ones."""
    for kind, expected in ((Fifo, True), (Lifo, False), (EarliestDeadlineFirst, False)):
        queue, new = kind(), Jobs()
        filled(queue, [new(total=9.0) for _ in range(12)])
        drained(queue, 0.0, seconds=0.1, most=2)
        assert (queue.refusal(new(total=0.5), 0.1) is not None) == expected


def test_a_job_is_given_up_when_its_execution_does_not_fit_any_more() -> None:
    """That instant is its deadline minus the expected execution time."""
    queue, new = Lifo(), Jobs()
    for _ in range(10):
        queue.learn(1, 0.05, 0.0)
    job = new(total=1.0)
    queue.push(job, 0.0)
    assert queue.give_up_at(job, 0.5) == pytest.approx(0.95)
    assert queue.give_up_at(new(), 0.5) == math.inf


def test_an_estimate_that_nothing_confirms_is_doubted() -> None:
    """One slow start does not refuse all jobs forever: after a while one is admitted and measured."""
    queue, new = Adaptive(), Jobs()
    queue.learn(1, 2.0, 0.0)
    assert queue.refusal(new(total=1.0), 1.0) is not None
    later = 2.0 * DOUBT_AFTER + 1.0
    assert queue.refusal(new(at=later, total=1.0), later) is None


def test_executions_are_learned_by_the_size_of_the_batch() -> None:
    """A batch of twenty takes longer than one job; sizes not seen yet use the next smaller one."""
    known = Executions()
    for _ in range(50):
        known.learn(1, 0.01, 0.0)
        known.learn(20, 0.1, 0.0)
    assert known.expected(1, 0.0) == pytest.approx(0.01)
    assert known.expected(24, 0.0) == pytest.approx(0.1)
    assert known.expected(64, 0.0) == pytest.approx(0.1)
    assert known.expected(4, 0.0) == pytest.approx(0.01)
    queue, new = Lifo(), Jobs(Batching(max_size=32))
    queue._executions = known
    filled(queue, [new(total=1.0) for _ in range(20)])
    assert queue.give_up_at(new(total=1.0), 0.0) == pytest.approx(0.9)


def test_the_median_is_not_moved_by_a_heavy_tail() -> None:
    """An occasional execution of a hundred times the usual does not change the expectation."""
    dice, median = random.Random(3), Quantile(0.5)
    for _ in range(2000):
        median.add(0.05 * (100 if dice.random() < 0.1 else dice.uniform(0.9, 1.1)))
    assert 0.04 < median.value < 0.07


def test_an_estimate_follows_a_change() -> None:
    """An execution time ten times as long is learned after a few dozen jobs."""
    median = Quantile(0.5)
    for _ in range(100):
        median.add(0.01)
    for _ in range(60):
        median.add(0.1)
    assert median.value == pytest.approx(0.1)


# ---- the callers' patience


def waits(patience: Patience, ages: Iterable[tuple[float, bool]]) -> None:
    for age, hung_up in ages:
        if patience.observe_wait(age, hung_up=hung_up):
            patience.conclude(0.05, [])


def test_patience_is_learned_from_hang_ups() -> None:
    """All hang up after a second: a job of 50 ms is hopeless a little before that, and not much before."""
    patience = Patience()
    waits(patience, [(0.1, False), (1.0, True)] * 100)
    assert 0.85 < patience.endured <= 1.0
    assert 0.85 < patience.hopeless_from <= 0.95


def test_nothing_is_hopeless_where_nobody_hangs_up() -> None:
    """Regardless of how long they wait."""
    patience = Patience()
    waits(patience, [(age, False) for age in (0.1, 1.0, 10.0, 100.0) for _ in range(100)])
    assert patience.hopeless_from == math.inf
    assert not patience.hangs_up
    assert patience.endured > 90.0


def test_nothing_is_hopeless_while_some_are_patient() -> None:
    """Four of five hang up after 0.2 s and the fifth waits: for its sake no job is shed at 0.2 s."""
    dice, patience = random.Random(5), Patience()
    waits(patience, [(0.2, True) if dice.random() < 0.8 else (5.0, True) for _ in range(2000)])
    assert 0.15 < patience.endured <= 0.2
    assert patience.hopeless_from > 4.5


def test_those_who_still_wait_are_heard() -> None:
    """The impatient leave first, and do not represent those who still wait."""
    patience = Patience()
    for _ in range(40):
        patience.observe_wait(0.2, hung_up=True)
    patience.conclude(0.05, [3.0] * 20)
    assert patience.hopeless_from > 1.0
    patience.conclude(0.05, [])
    assert patience.hopeless_from < 0.2


def test_a_habit_that_changes_is_learned_anew() -> None:
    """They hang up after 0.5 s, and later wait for five: old evidence fades."""
    patience = Patience()
    waits(patience, [(0.5, True)] * 3000)
    assert patience.hopeless_from < 0.5
    waits(patience, [(5.0, True)] * 30000)
    assert patience.hopeless_from > 4.0


def test_work_for_those_about_to_leave_is_shed_but_for_some() -> None:
    """The exception shows whether they would have left at all."""
    queue, new = Adaptive(), Jobs()
    waits(queue._patience[1], [(1.0, True)] * 50)
    times = [queue.give_up_at(new(at=2.0), 2.0) for _ in range(2 * SPARED)]
    assert sum(time == math.inf for time in times) == 2
    assert all(2.85 < time <= 2.95 for time in times if time != math.inf)


# ---- the plug-in


def priority_of(settings: OverloadSettings, *, header: str | None = None, principal: str | None = None) -> str:
    [decide] = Registry([OverloadPlugin(settings)]).admission_policies(endpoint())
    submission = Submission(
        endpoint(),
        header={"x-request-priority": header}.get,
        principal=None if principal is None else Principal(principal),
    )
    assert decide(submission) is None
    return submission.priority


def test_a_caller_may_stand_back_and_not_push_ahead() -> None:
    """The header lowers the configured priority, and never raises it."""
    plain = OverloadSettings()
    assert priority_of(plain) == "normal"
    assert priority_of(plain, header="Batch ") == "batch"
    assert priority_of(plain, header="interactive") == "normal"
    settings = OverloadSettings(priorities={"ann": "interactive"}, endpoint_priorities={"square": "batch"})
    assert priority_of(settings, principal="ann") == "interactive"
    assert priority_of(settings, principal="ann", header="normal") == "normal"
    assert priority_of(settings, principal="bob") == "batch"
    assert priority_of(settings, header="interactive") == "batch"


def test_a_priority_that_is_none_is_malformed() -> None:
    """A misspelled priority is not silently replaced by another."""
    with pytest.raises(MalformedRequest, match="must be one of interactive, normal, batch, not 'urgent'"):
        priority_of(OverloadSettings(), header="urgent")


def test_priorities_of_endpoints_that_are_not_there_are_refused() -> None:
    """At start-up, with the names that exist."""
    plugin = OverloadPlugin(OverloadSettings(endpoint_priorities={"sqare": "batch"}))
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    with pytest.raises(PluginError, match="names endpoint 'sqare', which does not exist; did you mean square"):
        plugin.check(app)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adaptive", Adaptive), ("fifo", Fifo), ("lifo", Lifo), ("edf", EarliestDeadlineFirst), ("codel", CoDel)],
)
def test_the_discipline_is_a_setting(name: Any, kind: type[Discipline]) -> None:
    """Each discipline is selected by its name."""
    factory = OverloadPlugin(OverloadSettings(discipline=name)).penstock_queue_discipline()
    assert factory is kind
    assert repr(factory()) == f"<{kind.__name__} of 0 jobs>"


def test_the_default_is_what_the_study_says() -> None:
    """Without any setting."""
    assert OverloadPlugin(OverloadSettings()).penstock_queue_discipline() is Adaptive
