"""The desk of background jobs: news of the store come to the engine's thread, once for many changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock import App, Jobs
from penstock.errors import NotReady
from penstock.job_store import NewJob, StoreChange
from penstock.testing import MemoryJobStore
from penstock_jobs.job_desk import JobDesk


class Scene:
    """A desk with a store in memory, and the callbacks that wait for the engine's thread."""

    def __init__(self) -> None:
        app = App("demo")

        @app.endpoint("/square", jobs=Jobs(max_queued=5))
        def square(x: float) -> float:
            return x * x

        @app.endpoint("/cube")
        def cube(x: float) -> float:
            return x**3

        self.turn: list[Callable[[], None]] = []
        self.desk = JobDesk(app, clock=lambda: 100.0)
        self.desk.call_soon_threadsafe = self.turn.append
        self.store = MemoryJobStore()
        self.store.start(self.desk.note)

    def run(self) -> int:
        """Call what waits, and return how much there was."""
        callbacks, self.turn[:] = list(self.turn), []
        for callback in callbacks:
            callback()
        return len(callbacks)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_desk_takes_nothing_before_the_store_is_open(scene: Scene) -> None:
    """The error is the one of a server that is not ready."""
    with pytest.raises(NotReady, match="is being opened"):
        scene.desk.submit(NewJob(id="a", endpoint="square"))
    scene.desk.open(scene.store)
    [put] = scene.desk.submit(NewJob(id="a", endpoint="square")).result()
    assert (put.is_new, put.job.created_at) == (True, 100.0)


def test_policies_are_those_of_the_endpoints(scene: Scene) -> None:
    """An endpoint without background jobs has none, and so has one that does not exist."""
    jobs = scene.desk.jobs_of("square")
    assert jobs is not None
    assert jobs.max_queued == 5
    assert scene.desk.jobs_of("cube") is scene.desk.jobs_of("sphere") is None


def test_many_changes_are_one_call(scene: Scene) -> None:
    """Changes are passed on together until the thread has time for them."""
    heard: list[StoreChange] = []
    scene.desk.open(scene.store)
    scene.desk.listen(heard.append)
    for name in "abc":
        scene.desk.submit(NewJob(id=name, endpoint="square"))
    assert scene.run() == 1
    assert [change.jobs for change in heard] == [frozenset("abc")]
    scene.desk.note(StoreChange(None, None))
    scene.desk.submit(NewJob(id="d", endpoint="square"))
    scene.run()
    assert heard[-1] == StoreChange(None, None)


def test_a_watch_hears_of_its_job_until_it_ends(scene: Scene) -> None:
    """And of no other one; a change without names may be any job's."""
    heard: list[str] = []
    scene.desk.open(scene.store)
    unwatch = scene.desk.watch("a", lambda: heard.append("a"))
    scene.desk.watch("b", lambda: heard.append("b"))
    scene.desk.submit(NewJob(id="a", endpoint="square"))
    scene.run()
    assert heard == ["a"]
    scene.desk.note(StoreChange(None, None))
    scene.run()
    assert heard == ["a", "a", "b"]
    unwatch()
    unwatch()
    scene.desk.cancel("a")
    scene.run()
    assert heard == ["a", "a", "b"]
