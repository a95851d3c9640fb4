"""Claims go into spare slots, and leave some of them to direct calls."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from penstock import App, Batching, Jobs
from penstock_jobs.claim_plan import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, ClaimPlan, Slots, SlotsOf


def square(x: float) -> float:
    return x * x


def app_with(**endpoints: Jobs | None) -> App:
    """Return an app whose endpoints share a pool."""
    app = App("demo")
    for name, jobs in endpoints.items():
        app.endpoint(f"/{name}", jobs=jobs, concurrency=4)(square)
    return app


def all_have(spare: int, total: int | None = None) -> SlotsOf:
    return lambda _: Slots(spare, spare if total is None else total)


def begun(plan: ClaimPlan, slots_of: SlotsOf, now: float = 0.0) -> Mapping[str, int]:
    return dict(plan.begin(now, slots_of))


def test_one_slot_of_several_is_left_to_direct_calls() -> None:
    """All but one, unless there is only one."""
    for total, number in ((1, 1), (2, 1), (4, 3)):
        assert begun(ClaimPlan(app_with(a=Jobs())), all_have(total)) == {"a": number}


def test_a_declared_concurrency_is_the_limit() -> None:
    """It needs no reserve: the declaration leaves the rest to others."""
    plan = ClaimPlan(app_with(a=Jobs(concurrency=2)))
    assert begun(plan, all_have(2)) == {"a": 2}
    plan.end("a", 2)
    assert begun(plan, all_have(2, 4)) == {}
    plan.leave("a")
    assert begun(plan, all_have(3, 4)) == {"a": 1}


def test_a_limit_for_all_engines_is_one_for_each_of_them() -> None:
    """No engine asks for more; what the others run is for the store to count."""
    plan = ClaimPlan(app_with(a=Jobs(global_concurrency=2), b=Jobs()))
    assert (plan.most_running("a"), plan.most_running("b")) == (2, None)
    assert begun(plan, all_have(8))["a"] == 2
    plan.end("a", 1)
    plan.wake(frozenset({"a"}))
    assert begun(plan, all_have(7, 8))["a"] == 1


def test_any_news_may_be_of_room_below_a_limit_for_all_engines() -> None:
    """A job that has ended elsewhere puts none in the queue."""
    plan = ClaimPlan(app_with(a=Jobs(concurrency=1, global_concurrency=1), b=Jobs(concurrency=1)))
    assert begun(plan, all_have(4)) == {"a": 1, "b": 1}
    for name in ("a", "b"):
        plan.end(name, 0)
    plan.wake(frozenset())
    assert begun(plan, all_have(4)) == {"a": 1}


def test_a_share_bounds_the_slots() -> None:
    """At least one remains for jobs."""
    assert begun(ClaimPlan(app_with(a=Jobs()), 0.5), all_have(8)) == {"a": 4}
    assert begun(ClaimPlan(app_with(a=Jobs()), 0.1), all_have(4)) == {"a": 1}
    assert begun(ClaimPlan(app_with(a=Jobs()), 1.0), all_have(4)) == {"a": 4}


def test_the_reserve_of_a_batching_endpoint_is_a_batch() -> None:
    """And a single worker may be filled with one."""
    app = App("demo")

    @app.endpoint("/a", batching=Batching(max_size=8), jobs=Jobs())
    def batch(xs: list[float]) -> list[float]:
        return xs

    assert begun(ClaimPlan(app), all_have(16)) == {"a": 8}
    assert begun(ClaimPlan(app), all_have(8)) == {"a": 8}


def test_nothing_is_claimed_without_a_slot() -> None:
    """Neither while none is spare, nor before a worker is there."""
    plan = ClaimPlan(app_with(a=Jobs()))
    assert begun(plan, all_have(0, 4)) == {}
    assert begun(plan, all_have(0)) == {}
    assert begun(plan, all_have(2)) == {"a": 1}


def test_endpoints_without_jobs_are_not_asked_for() -> None:
    """They are in no store."""
    assert begun(ClaimPlan(app_with(a=None, b=Jobs())), all_have(2)) == {"b": 1}


def test_endpoints_of_a_pool_share_its_slots_in_turns() -> None:
    """Claims under way count; the one that was served last waits."""
    plan = ClaimPlan(app_with(a=Jobs(), b=Jobs()))
    assert begun(plan, all_have(2)) == {"a": 1}
    plan.end("a", 1)
    assert begun(plan, all_have(1, 2)) == {}
    plan.leave("a")
    assert begun(plan, all_have(2)) == {"b": 1}


def test_a_queue_is_asked_again_when_there_may_be_more() -> None:
    """After a claim that got all it asked for, after a failed one, and at news: even if they came during the claim."""
    plan = ClaimPlan(app_with(a=Jobs(concurrency=2)))
    slots = all_have(4)
    assert begun(plan, slots) == {"a": 2}
    assert begun(plan, slots) == {}
    plan.end("a", 1)
    assert begun(plan, slots) == {}
    plan.leave("a")
    assert begun(plan, slots) == {}
    plan.wake(frozenset({"a", "unknown"}))
    assert begun(plan, slots) == {"a": 2}
    plan.wake()
    plan.end("a", 0)
    assert begun(plan, slots) == {"a": 2}
    plan.end("a", None)
    assert begun(plan, slots) == {"a": 2}
    plan.end("a", 2)
    plan.leave("a")
    assert begun(plan, slots) == {"a": 1}


def test_a_refused_endpoint_is_left_alone_for_longer_and_longer() -> None:
    """Until the engine has run a job of it."""
    plan = ClaimPlan(app_with(a=Jobs(concurrency=1)))
    now, pauses = 0.0, []
    for _ in range(9):
        assert begun(plan, all_have(1), now) == {"a": 1}
        plan.end("a", 1)
        plan.leave("a")
        plan.refuse("a", now)
        start, step = now, FIRST_PAUSE_SECONDS / 2
        while not (found := begun(plan, all_have(1), now)):
            now += step
        plan.end("a", None)
        assert found
        pauses.append(now - start)
    assert pauses[0] == pytest.approx(FIRST_PAUSE_SECONDS)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_SECONDS, abs=FIRST_PAUSE_SECONDS)
    plan.accept("a")
    plan.refuse("a", now)
    assert begun(plan, all_have(1), now + FIRST_PAUSE_SECONDS) == {"a": 1}
