"""Third-party queues that make mistakes: each mistake costs one job, and no other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import HookError, PenstockError, QueueFull
from penstock.policies import Batching
from penstock.scheduler import FifoQueue, GuardedQueue, Job, LaneSpec
from penstock.scheduler.timers import NEVER
from penstock.testing import Behaviour, FakeEngine
from tests.core.scheduler.scheduling import code, codes, lane, ready


class Breakable(FifoQueue):
    """A queue in order of arrival, whose methods a test replaces through ``breaks``, by name."""

    sheds = True

    def __init__(self) -> None:
        super().__init__()
        self.breaks: dict[str, Callable[[], Any]] = {}

    def __getattribute__(self, name: str) -> Any:
        breaks = {} if name == "breaks" else object.__getattribute__(self, "__dict__").get("breaks", {})
        if name in breaks:
            return lambda *_: breaks[name]()
        return super().__getattribute__(name)


def raises() -> Any:
    raise RuntimeError("the queue is broken")


def once(queue: Breakable, name: str) -> Callable[[], Any]:
    """Return a function that raises, and repairs the method."""

    def broken() -> Any:
        del queue.breaks[name]
        raise RuntimeError("the queue is broken")

    return broken


class Told(list[str]):
    """The errors that the guard has reported."""

    def __call__(self, error: BaseException) -> HookError:
        self.append(f"{type(error).__name__}: {error}")
        return HookError("the plug-in has failed")


def guarded(queue: FifoQueue, told: Told, **options: Any) -> LaneSpec:
    return lane(new_queue=lambda: GuardedQueue(queue, told), **options)


def waiting(count: int = 3, **options: Any) -> tuple[FakeEngine, Breakable, Told, list[Job]]:
    """Return an engine that is busy for a second, with ``count`` jobs in its guarded queue."""
    queue, told = Breakable(), Told()
    engine = ready(guarded(queue, told, **options))
    engine.submit(behaviour=Behaviour.SLOW)
    return engine, queue, told, [engine.submit() for _ in range(count)]


def test_a_queue_that_works_is_not_in_the_way() -> None:
    """The order, the bytes, the length and the answers are those of the queue."""
    engine, queue, told, jobs = waiting()
    guard = engine.scheduler.lanes["lane"].queue
    assert (len(guard), list(guard), guard.size_bytes) == (3, jobs, 0)
    assert repr(guard) == "<GuardedQueue around Breakable: 3 jobs>"
    engine.advance(2.0)
    assert engine.answered[1:] == jobs
    assert (told, len(queue)) == ([], 0)


def test_a_push_that_raises_costs_the_job_that_came() -> None:
    """That job is answered at once; the jobs before and after it are served."""
    engine, queue, told, jobs = waiting(1)
    queue.breaks["push"] = once(queue, "push")
    victim = engine.submit()
    assert (code(victim), victim.outcome.detail) == ("hook-error", "the plug-in has failed")
    jobs.append(engine.submit())
    engine.advance(2.0)
    assert codes(*jobs) == ["ok", "ok"]
    assert told == ["RuntimeError: the queue is broken"]


def test_a_push_that_raises_in_an_idle_server_costs_that_job_too() -> None:
    """No other job is there to pay, and nothing of the mistake remains."""
    queue, told = Breakable(), Told()
    queue.breaks["push"] = once(queue, "push")
    engine = ready(guarded(queue, told))
    assert code(engine.submit()) == "hook-error"
    job = engine.submit()
    engine.advance(1.0)
    assert code(job) == "ok"
    assert len(told) == 1


@pytest.mark.parametrize("method", ["head", "pop"])
def test_a_head_or_a_pop_that_raises_costs_the_oldest(method: str) -> None:
    """The turn goes to the next job."""
    engine, queue, told, jobs = waiting()
    queue.breaks[method] = once(queue, method)
    engine.advance(3.0)
    assert codes(*jobs) == ["hook-error", "ok", "ok"]
    assert told == ["RuntimeError: the queue is broken"]


@pytest.mark.parametrize("method", ["head", "pop"])
def test_a_stranger_in_the_queue_costs_the_oldest(method: str) -> None:
    """A job that was never pushed, or has left, is not started."""
    engine, queue, told, jobs = waiting()
    foreign = Job(jobs[0].lane, jobs[0].timeouts)

    def another() -> Job:
        del queue.breaks[method]
        return foreign

    queue.breaks[method] = another
    engine.advance(3.0)
    assert codes(*jobs).count("hook-error") == 1
    assert codes(*jobs).count("ok") == 2
    assert foreign.attempts == 0
    assert len(told) == 1
    assert "returned <Job 0 of lane" in told[0]


def test_a_pop_of_the_wrong_job_costs_the_one_whose_turn_it_was() -> None:
    """The job that was popped is put back."""
    engine, queue, told, jobs = waiting()

    def wrong() -> Job:
        del queue.breaks["pop"]
        queue.remove(jobs[2], "", 0.0)
        return jobs[2]

    queue.breaks["pop"] = wrong
    engine.advance(3.0)
    assert codes(*jobs) == ["hook-error", "ok", "ok"]
    assert len(told) == 1


@pytest.mark.parametrize("raises", [raises, sys.exit])
def test_a_queue_that_only_raises_fails_its_jobs_and_not_the_server(raises: Callable[[], Any]) -> None:
    """Each job is answered when its turn comes; another lane of the pool is not affected."""
    queue, told = Breakable(), Told()
    engine = ready(guarded(queue, told), lane(name="other"))
    queue.breaks = dict.fromkeys(
        ("push", "push_front", "head", "pop", "remove", "give_up_at", "retry_after", "learn"), raises
    )
    jobs = [engine.submit(name) for name in ("lane", "other", "lane", "other")]
    engine.advance(3.0)
    assert codes(*jobs) == ["hook-error", "ok", "hook-error", "ok"]
    assert len(engine.scheduler.lanes["lane"].queue) == 0


def test_a_batch_ends_before_a_mistake() -> None:
    """The jobs already in the batch run; the job that pays fails in its turn."""
    engine, queue, told, jobs = waiting(batching=Batching(max_size=3, max_wait=0.0))
    pops = iter([False, True])
    honest = queue.pop

    def second() -> Job:
        if next(pops, False):
            raise RuntimeError("the queue is broken")
        return honest(0.0)

    queue.breaks["pop"] = second
    engine.advance(3.0)
    assert codes(*jobs) == ["ok", "hook-error", "ok"]
    assert len(told) == 1


def test_a_put_back_that_raises_costs_the_job_that_came_back() -> None:
    """The job that has lost its worker loses its position too."""
    queue, told = Breakable(), Told()
    engine = ready(guarded(queue, told))
    victim = engine.submit(behaviour=Behaviour.SLOW)
    queue.breaks["push_front"] = once(queue, "push_front")
    engine.workers[1].exit("SIGKILL")
    other = engine.submit()
    engine.advance(3.0)
    assert (code(victim), code(other)) == ("hook-error", "ok")


def test_a_removal_that_raises_costs_nobody_anything() -> None:
    """The job had its answer already; its trace in the queue does no harm."""
    engine, queue, told, jobs = waiting()
    queue.breaks["remove"] = once(queue, "remove")
    engine.cancel(jobs[0], "the client has gone")
    engine.advance(3.0)
    assert codes(*jobs) == ["cancelled", "ok", "ok"]
    assert told == ["RuntimeError: the queue is broken"]
    assert len(queue) == 0


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (raises, "hook-error"),
        (lambda: "no", "hook-error"),
        (lambda: QueueFull("no more"), "queue-full"),
        (lambda: None, None),
    ],
)
def test_a_refusal_is_an_error_of_ours_or_a_mistake(reply: Callable[[], Any], answer: str | None) -> None:
    """A mistake refuses the job in question, also before its body is read."""
    engine, queue, told, _ = waiting()
    queue.breaks["refusal"] = reply
    assert code(engine.submit()) == answer
    refusal = engine.scheduler.refusal(engine.scheduler.lanes["lane"])
    assert getattr(refusal, "code", None) == answer
    assert len(told) == (2 if answer == "hook-error" else 0)


def test_an_error_that_a_queue_raised_does_not_hold_the_job() -> None:
    """The job holds its error, so the error must not hold, by its traceback, the frames that hold the job."""

    def refuse() -> Any:
        try:
            raises()
        except RuntimeError as error:
            raise QueueFull("no") from error

    engine, queue, _, _ = waiting()
    queue.breaks["refusal"] = refuse
    outcome = engine.submit().outcome
    assert (outcome.code, outcome.__traceback__, outcome.__cause__, outcome.__context__) == (
        "queue-full",
        None,
        None,
        None,
    )


def test_a_refusal_may_be_raised() -> None:
    """As in other hooks, raising an error means the same as returning it."""
    engine, queue, told, _ = waiting()

    def full() -> PenstockError:
        raise QueueFull("no more")

    queue.breaks["refusal"] = full
    assert code(engine.submit()) == "queue-full"
    assert told == []


@pytest.mark.parametrize("reply", [raises, lambda: float("nan"), lambda: "soon"])
def test_a_mistake_about_a_deadline_is_a_never(reply: Callable[[], Any]) -> None:
    """The job waits, and is served."""
    engine, queue, told, jobs = waiting(1)
    guard = engine.scheduler.lanes["lane"].queue
    queue.breaks["give_up_at"] = reply
    assert guard.give_up_at(jobs[0], 1.0) == NEVER
    assert len(told) == 1
    engine.advance(3.0)
    assert code(jobs[0]) == "ok"


def test_mistakes_about_advice_and_lessons_change_nothing() -> None:
    """Each of these mistakes is only reported."""
    engine, queue, told, jobs = waiting(1, max_queue=1)
    queue.breaks |= {"retry_after": raises, "execution_seconds": raises, "learn": raises}
    refused = engine.submit()
    assert (code(refused), refused.outcome.retry_after, refused.outcome.execution_seconds) == ("queue-full", None, None)
    engine.advance(3.0)
    assert code(jobs[0]) == "ok"
    assert len(told) == 4


def test_a_queue_that_does_not_shed_is_not_asked_through_the_guard_either() -> None:
    """Only the guard sheds, for the jobs that pay for a mistake."""
    told = Told()
    queue = Breakable()
    queue.sheds = False
    guard = GuardedQueue(queue, told)
    queue.breaks = {"give_up_at": raises, "retry_after": raises, "execution_seconds": raises}
    job = Job(ready(lane()).scheduler.lanes["lane"], lane().timeouts)
    guard.push(job, 0.0)
    assert (guard.give_up_at(job, 0.0), guard.retry_after(0.0), guard.execution_seconds(0.0)) == (NEVER, None, None)
    assert told == []
