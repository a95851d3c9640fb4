"""The status page of an engine."""

from __future__ import annotations

from typing import NoReturn

from penstock.engine.observers import Observers
from penstock.engine.status import StatusPage
from penstock.hooks.registry import Registry
from penstock.testing import Behaviour, FakeEngine


def _no_submission(_job: object) -> NoReturn:
    raise AssertionError("no plug-in observes a job")


def page_of(engine: FakeEngine) -> StatusPage:
    return StatusPage(
        engine.scheduler,
        Observers(Registry(), engine.clock, _no_submission),
        engine.clock,
        pid_of=lambda worker: 1000 + worker,
        request_id_of=lambda job: f"r{job.sequence}",
    )


def test_it_shows_pools_workers_and_attempts() -> None:
    """It lists each place with its worker and each attempt with its requests, with rounded seconds."""
    engine = FakeEngine()
    engine.start()
    engine.advance(1.0)
    engine.submit(behaviour=Behaviour.STUCK)
    engine.advance(0.25)
    rendered = page_of(engine).render([])
    assert (rendered["ready"], rendered["reasons"], rendered["draining"]) == (True, [], False)
    assert rendered["pools"]["default"] == {
        "ready": True,
        "failure": None,
        "target": 1,
        "spares": 0,
        "recycled": {},
        "workers": [
            {
                "id": "default/0",
                "restarts": 0,
                "last_end": None,
                "pid": 1001,
                "state": "busy",
                "since": 0.25,
                "memory_bytes": None,
                "attempts": [{"id": 1, "endpoint": "lane", "state": "running", "jobs": ["r1"], "seconds": 0.25}],
            }
        ],
    }
    assert rendered["endpoints"]["lane"]["running"] == 1


def test_a_place_between_two_workers_is_restarting() -> None:
    """The place is listed, without a process in it. Values that are not known yet are None: null in JSON."""
    rendered = page_of(FakeEngine()).render(["not started"])
    assert rendered["pools"]["default"]["failure"] is None
    lane = rendered["endpoints"]["lane"]
    assert (lane["queue_seconds"], lane["execution_seconds"]) == (None, None)
    assert (rendered["ready"], rendered["reasons"]) == (False, ["not started"])
    [place] = rendered["pools"]["default"]["workers"]
    assert (place["state"], place["pid"], place["since"], place["attempts"]) == ("restarting", None, None, [])
