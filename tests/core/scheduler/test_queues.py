"""Queues that decide: which job goes first, which are refused or shed, and what the queue learns."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from penstock.errors import DeadlineInfeasible, PenstockError, QueueFull
from penstock.policies import Batching, Timeouts
from penstock.scheduler import FifoQueue, Job, LaneSpec
from penstock.scheduler.timers import NEVER
from penstock.testing import Behaviour, FakeEngine
from tests.core.scheduler.scheduling import code, codes, lane, ready


class Newest(FifoQueue):
    """A queue that serves the latest arrival first."""

    def head(self, now: float) -> Job:
        return next(reversed(self.jobs.values()))

    def pop(self, now: float) -> Job:
        job = self.head(now)
        self.remove(job, "", now)
        return job


class Strict(FifoQueue):
    """A queue that sheds jobs as a test demands, and keeps a diary."""

    sheds: ClassVar[bool] = True
    sees_all: ClassVar[bool] = True

    def __init__(self, *, refuses: PenstockError | None = None, advice: float | None = None) -> None:
        super().__init__()
        self.diary: list[tuple[Any, ...]] = []
        self.hopeless: dict[Any, float] = {}  # by the job's share
        self.refuses = refuses
        self.advice = advice
        self.expects: float | None = None

    def remove(self, job: Job, why: str, now: float) -> None:
        self.diary.append(("remove", why, now))
        super().remove(job, why, now)

    def refusal(self, job: Job | None, now: float) -> PenstockError | None:
        self.diary.append(("refusal", job, now))
        return self.refuses

    def give_up_at(self, job: Job, now: float) -> float:
        self.diary.append(("give_up_at", job, now))
        return self.hopeless.get(job.share, NEVER)

    def retry_after(self, now: float) -> float | None:
        return self.advice

    def execution_seconds(self, now: float) -> float | None:
        return self.expects

    def learn(self, jobs: int, seconds: float, now: float) -> None:
        self.diary.append(("learn", jobs, round(seconds, 6), round(now, 6)))

    def told(self, what: str) -> list[tuple[Any, ...]]:
        return [entry for entry in self.diary if entry[0] == what]


def strict(queue: Strict, **options: Any) -> LaneSpec:
    return lane(new_queue=lambda: queue, **options)


def occupied(*lanes: LaneSpec, seconds: float = 1.0, **options: Any) -> FakeEngine:
    """Return an engine whose one worker is busy for ``seconds`` with a job of the first lane."""
    engine = ready(*lanes, **options)
    engine.submit(next(iter(engine.scheduler.lanes)), Behaviour(seconds=seconds))
    return engine


# ---- whose turn it is


def test_the_queue_decides_who_goes_first() -> None:
    """The queue decides within its lane, and for batches as well."""
    engine = occupied(lane(new_queue=Newest))
    jobs = [engine.submit() for _ in range(3)]
    engine.advance(2.0)
    assert engine.answered[1:] == jobs[::-1]
    engine = occupied(lane(new_queue=Newest, batching=Batching(max_size=2, max_wait=0.0)))
    jobs = [engine.submit() for _ in range(3)]
    engine.advance(2.0)
    assert engine.answered[1:] == [jobs[2], jobs[1], jobs[0]]


def test_a_lane_of_the_newest_and_one_of_the_oldest_take_turns() -> None:
    """A turn out of order puts the lane behind the jobs that the other lane had by then, and not behind later ones."""
    engine = occupied(lane(), lane(name="newest", new_queue=Newest))
    names = ["newest", "newest", "lane", "lane", "newest"]
    old, middle, first, second, new = [engine.submit(name) for name in names]
    engine.advance(1.005)  # the newest has begun, because the oldest of its lane has waited longest
    late = engine.submit("lane")
    engine.advance(1.0)
    assert engine.answered[1:] == [new, first, second, middle, late, old]


def test_two_lanes_of_the_newest_share_their_workers() -> None:
    """Neither lane waits for the other one to be empty."""
    engine = occupied(lane(name="a", new_queue=Newest), lane(name="b", new_queue=Newest))
    for name in "aaaabbbb":
        engine.submit(name)
    engine.advance(5.0)
    assert "".join(job.lane.name for job in engine.answered[1:]) == "abababab"


def test_a_queue_in_order_of_arrival_has_no_turns() -> None:
    """A job that is put back keeps its turn over all lanes: only going before an older job of its lane costs one."""
    engine = ready(lane(), lane(name="other"))
    jobs = [engine.submit(name) for name in ("lane", "other", "lane", "other")]
    engine.workers[1].exit("SIGKILL")
    engine.advance(1.0)
    assert engine.answered == jobs
    assert [lane.served for lane in engine.scheduler.lanes.values()] == [0, 0]


# ---- which jobs are refused


def test_the_queue_may_refuse_a_job() -> None:
    """The job is refused with the queue's own error, and appears in no count but that of refusals."""
    queue = Strict(refuses=DeadlineInfeasible("it would take too long"))
    engine = ready(strict(queue))
    job = engine.submit()
    assert (code(job), job.outcome.detail, job.admitted) == ("deadline-infeasible", "it would take too long", False)
    assert queue.told("refusal") == [("refusal", job, 1.0)]
    assert engine.scheduler.jobs_live == 0
    assert engine.scheduler.lanes["lane"].admitted == 0


def test_the_queue_is_asked_before_the_body_is_read() -> None:
    """The queue is asked without a job; and not at all if there is no room anyway."""
    queue = Strict(refuses=DeadlineInfeasible())
    scheduler = ready(strict(queue, max_queue=1)).scheduler
    target = scheduler.lanes["lane"]
    assert scheduler.refusal(target) is queue.refuses
    queue.refuses = None
    assert scheduler.refusal(target) is None
    assert [entry[1] for entry in queue.told("refusal")] == [None, None]
    target.max_queue = 0
    assert isinstance(scheduler.refusal(target), QueueFull)
    assert len(queue.told("refusal")) == 2


# ---- which jobs pass it


@pytest.mark.parametrize("sees_all", [False, True])
def test_a_job_that_can_start_at_once_need_not_pass_through_an_empty_queue(*, sees_all: bool) -> None:
    """Unless the queue wants to see every job. About one with a deadline it is asked, and may shed it."""

    class Seeing(Strict):
        def push(self, job: Job, now: float) -> None:
            self.diary.append(("push", job))
            super().push(job, now)

    Seeing.sees_all = sees_all
    queue = Seeing()
    engine = ready(strict(queue))
    first = engine.submit()
    second, third = engine.submit(), engine.submit()
    assert [job.attempts for job in (first, second, third)] == [1, 0, 0]
    assert len(queue.told("push")) == (3 if sees_all else 2)
    engine.advance(1.0)
    queue.diary.clear()
    dated = engine.submit(timeouts=Timeouts(total=5.0))
    assert (dated.attempts, len(queue.told("push"))) == (1, int(sees_all))
    assert ("give_up_at", dated, engine.clock.now) in queue.diary
    engine.advance(1.0)
    queue.hopeless = {"late": 0.5}
    late = engine.submit(timeouts=Timeouts(total=5.0), share="late")
    assert (late.attempts, late.outcome.code) == (0, DeadlineInfeasible.code)


# ---- which jobs are shed


def test_a_job_whose_deadline_cannot_be_met_is_shed_when_it_comes() -> None:
    """It is shed at once, even if a worker is free; the next job runs."""
    queue = Strict()
    queue.hopeless = {"late": 0.5}
    engine = ready(strict(queue))
    hopeless, other = engine.submit(share="late"), engine.submit()
    assert (code(hopeless), hopeless.state, hopeless.attempts) == ("deadline-infeasible", "failed", 0)
    assert hopeless.outcome.retryable
    assert other.attempts == 1
    assert queue.told("remove") == [("remove", "shed", 1.0)]


def test_a_job_is_shed_as_soon_as_its_deadline_cannot_be_met_any_more() -> None:
    """It is shed in the queue, at the instant that the queue has named."""
    queue = Strict()
    queue.hopeless = {"late": 1.3}
    engine = occupied(strict(queue))
    job = engine.submit(share="late")
    engine.advance(0.299)
    assert code(job) is None
    engine.advance(0.002)
    assert (code(job), job.answered) == ("deadline-infeasible", 1.3)


def test_the_queue_may_change_its_mind_until_then() -> None:
    """The queue is asked again at that instant, and the job waits on if there is hope by then."""
    queue = Strict()
    queue.hopeless = {"late": 1.3}
    engine = occupied(strict(queue))
    job = engine.submit(share="late")
    engine.advance(0.1)
    queue.hopeless = {"late": 1.6}
    engine.advance(0.4)
    assert code(job) is None
    queue.hopeless = {}
    engine.advance(1.0)
    assert code(job) == "ok"
    assert [round(entry[2], 6) for entry in queue.told("give_up_at") if entry[1] is job] == [1.0, 1.3, 1.6, 2.0]


def test_the_head_is_looked_at_before_it_is_started() -> None:
    """All jobs that have become hopeless meanwhile are shed, and cost no worker's time."""
    queue = Strict()
    engine = occupied(strict(queue))
    jobs = [engine.submit(share="late") for _ in range(3)]
    last = engine.submit()
    queue.hopeless = {"late": 1.9}
    engine.advance(1.005)
    assert codes(*jobs) == ["deadline-infeasible"] * 3
    assert last.attempts == 1


def test_hopeless_jobs_do_not_join_a_batch() -> None:
    """They are shed, and the batch is filled with the jobs behind them."""
    queue = Strict()
    engine = occupied(strict(queue, batching=Batching(max_size=2, max_wait=0.0)))
    first, hopeless, second = engine.submit(), engine.submit(share="late"), engine.submit()
    queue.hopeless = {"late": 1.9}
    engine.advance(1.005)
    assert code(hopeless) == "deadline-infeasible"
    assert first.attempt is second.attempt is not None


def test_a_job_that_lost_its_worker_is_shed_with_the_truth() -> None:
    """The job has been started, and the error does not claim otherwise."""
    queue = Strict()
    engine = ready(strict(queue))
    job = engine.submit(behaviour=Behaviour.STUCK, share="late")
    queue.hopeless = {"late": 0.0}
    engine.workers[1].exit("SIGKILL")
    assert (code(job), job.outcome.retryable) == ("worker-lost", True)
    assert "can no longer finish in time" in job.outcome.detail


def test_a_job_in_a_line_is_out_of_its_queue_until_it_comes_back() -> None:
    """While it waits in a worker's line it is not shed; once it is back in the queue, the queue is asked again."""
    queue = Strict()
    engine = ready(strict(queue, runs_in_turn=True))
    engine.submit(behaviour=Behaviour(seconds=0.0001))
    engine.advance(0.01)
    engine.submit(behaviour=Behaviour.SLOW)
    job = engine.submit(share="late")
    assert engine.scheduler.lanes["lane"].ahead == 1
    queue.hopeless = {"late": 1.0}
    engine.advance(0.005)
    assert code(job) is None
    engine.advance(0.01)  # the line has waited too long, and is recalled
    assert code(job) == "deadline-infeasible"


def test_a_queue_that_does_not_shed_is_not_asked() -> None:
    """Nor is it asked for advice: ``sheds`` answers both questions."""
    queue = Strict(advice=7.0)
    type_of = type("Mild", (Strict,), {"sheds": False})
    mild = type_of()
    engine = occupied(strict(mild, max_queue=1))
    engine.submit()
    refused = engine.submit()
    assert refused.outcome.retry_after is None
    assert mild.told("give_up_at") == []
    assert queue.diary == []


def test_the_queue_is_told_why_a_job_leaves() -> None:
    """The reasons: its caller has gone, its time is over, or its pool has failed."""
    queue = Strict()
    engine = occupied(strict(queue, timeouts=Timeouts(queue=0.3)))
    engine.cancel(engine.submit())
    engine.submit()
    engine.advance(0.4)
    engine.submit()
    engine.drain(0.0)
    engine.advance(0.1)
    assert [entry[1] for entry in queue.told("remove")] == ["cancel", "expire", "cancel"]


# ---- when to try again


@pytest.mark.parametrize(
    ("options", "share", "answer"),
    [
        ({"max_queue": 0}, "", "queue-full"),
        ({"timeouts": Timeouts(queue=0.1)}, "", "queue-timeout"),
        ({}, "late", "deadline-infeasible"),
    ],
)
def test_refusals_say_when_to_try_again(options: dict[str, Any], share: str, answer: str) -> None:
    """The queue knows how fast it drains and how long a job takes; if it does not, the refusal has no advice."""
    for advice in (2.5, None):
        queue = Strict(advice=advice)
        queue.expects = advice and advice / 2
        engine = ready(strict(queue, **{"max_queue": 5} | options))
        engine.scheduler.lanes["lane"].max_queue = 5
        engine.submit(behaviour=Behaviour.SLOW)
        engine.scheduler.lanes["lane"].max_queue = options.get("max_queue", 5)
        queue.hopeless = {"late": 0.0}
        job = engine.submit(share=share)
        engine.advance(0.2)
        assert (code(job), job.outcome.retry_after) == (answer, advice)
        assert job.outcome.execution_seconds == queue.expects


def test_the_queue_s_own_refusal_keeps_its_own_advice() -> None:
    """Advice that the queue has given itself is kept; missing advice is filled in."""
    queue = Strict(refuses=DeadlineInfeasible(retry_after=9.0), advice=2.5)
    engine = ready(strict(queue))
    assert engine.submit().outcome.retry_after == 9.0
    queue.refuses = DeadlineInfeasible()
    assert engine.submit().outcome.retry_after == 2.5


# ---- what the queue learns


def test_the_queue_learns_from_what_was_wanted_to_the_end() -> None:
    """It learns the jobs and seconds of each attempt, also of a failed one, but not of an interrupted one."""
    queue = Strict()
    engine = ready(strict(queue, batching=Batching(max_size=2, max_wait=0.0), timeouts=Timeouts(execution=0.5)))
    engine.submit(behaviour=Behaviour(seconds=0.2))
    engine.submit(behaviour=Behaviour.FAILING)
    engine.submit()
    engine.advance(0.3)
    engine.submit(behaviour=Behaviour.STUCK)
    engine.advance(1.0)
    assert queue.told("learn") == [("learn", 1, 0.2, 1.2), ("learn", 2, 0.01, 1.21)]


def test_the_lane_counts_what_it_has_admitted() -> None:
    """Jobs count however they end; refusals do not count."""
    engine = ready(lane(max_queue=1))
    for _ in range(3):
        engine.submit()
    assert engine.scheduler.lanes["lane"].admitted == 2


def test_a_job_says_how_urgent_it_is_and_whose_share_it_takes() -> None:
    """Both are for the queue, which alone reads them."""
    engine = ready()
    job = engine.submit(priority=0, share="somebody")
    assert (job.priority, job.share) == (0, "somebody")
    assert (engine.submit().priority, engine.submit().share) == (1, "")
