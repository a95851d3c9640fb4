"""The succession of generations, without processes."""

from __future__ import annotations

from penstock_gunicorn.generations import FAILED, RETIRED, SERVING, UNKNOWN_REASON, Generations


def serving(*pids: int) -> Generations:
    """A master whose first generation has these processes, all of them ready."""
    generations = Generations(0.0)
    for pid in pids:
        generations.started(generations.serving, pid)
        generations.became_ready(pid)
    return generations


def test_the_next_one_serves_when_all_its_processes_are_ready() -> None:
    """One that is not, or is missing, holds it up; then the old one retires, and its end changes nothing."""
    generations = serving(1, 2)
    old = generations.serving
    generations.want_reload()
    coming = generations.begin_reload(1.0)
    assert coming is not None
    for pid in (3, 4):
        assert generations.finish_reload(lambda _generation: 2) is None
        generations.started(coming, pid)
        generations.became_ready(3)
    generations.became_ready(4)
    assert generations.finish_reload(lambda _generation: 2) is old
    assert (generations.serving, generations.coming) == (coming, None)
    assert (coming.state, old.state, coming.number) == (SERVING, RETIRED, 2)
    assert generations.ended(1) is old
    assert generations.ended(1) is None


def test_one_that_fails_leaves_the_old_one_as_it_is() -> None:
    """With its reason, or with a word that there is none; its other processes are left to be stopped."""
    generations = serving(1)
    for number, reason in enumerate(["no module", ""]):
        generations.want_reload()
        coming = generations.begin_reload(1.0)
        assert coming is not None
        pid = 10 * (number + 1)
        generations.started(coming, pid)
        generations.started(coming, pid + 1)
        if reason:
            generations.failed(pid, reason)
        assert generations.ended(pid) is coming
        assert (coming.state, coming.reason) == (FAILED, reason or UNKNOWN_REASON)
        assert list(coming.members) == [pid + 1]
        assert (generations.serving.number, generations.serving.members) == (1, {1: True})
        assert generations.coming is None


def test_a_reload_that_is_asked_for_during_another_follows_it() -> None:
    """However often it was asked for; also if the one under way fails."""
    generations = serving(1)
    generations.want_reload()
    first = generations.begin_reload(1.0)
    assert first is not None
    generations.want_reload()
    generations.want_reload()
    assert generations.begin_reload(2.0) is None
    generations.give_up("no settings")
    assert generations.begin_reload(3.0) is not None
    generations.give_up("no settings")
    assert generations.begin_reload(4.0) is None


def test_a_process_of_the_serving_generation_that_ends_leaves_its_place_free() -> None:
    """And one that is dismissed is not missed: the oldest goes first."""
    generations = serving(1, 2, 3)
    assert generations.ended(2) is generations.serving
    assert generations.dismiss(1) == [1]
    assert generations.serving.members == {3: True}
    assert generations.ended(1) is None
