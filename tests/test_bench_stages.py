from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("stage_probes")


@pytest.fixture
def stages(probes: Any) -> Any:
    return importlib.import_module("stages")


def test_every_function_that_is_probed_exists(probes: Any) -> None:
    """A renamed function fails here: name the one that has taken its place, in bench/stage_probes.py."""
    for point in (*probes.HTTP_PROBES, *probes.WORKER_PROBES, *probes.BARE_PROBES):
        owner, name = probes.locate(point)
        assert callable(getattr(owner, name))


def test_a_function_that_is_gone_is_named(probes: Any) -> None:
    """The message has the function, the module and the place to correct."""
    point = probes.ProbePoint("penstock.wire", "FrameReader.eat", probes.READ, at_end=True, key=lambda *_: 0)
    with pytest.raises(SystemExit, match=r"stage_probes.py: penstock.wire has no FrameReader.eat any more"):
        probes.locate(point)


def test_marks_survive_the_process_and_follow_a_fork(probes: Any, tmp_path: Path) -> None:
    """Each process has its file, from its first mark on; a wrapped function returns what it did before."""
    recorder = probes.StageRecorder("http", str(tmp_path))
    point = probes.ProbePoint("", "", probes.READ, at_end=True, key=lambda _arguments, returned: returned)
    double = probes.probed(lambda value: value * 2, point, recorder)
    assert double(21) == 42
    recorder.reset()  # as in a fork
    (path,) = tmp_path.iterdir()
    ((instant, mark, key),) = probes.read_records(path)
    assert (instant > 0, mark, key) == (True, probes.READ, 42)


def timelines_of(stages: Any, *, attempt: int = 5, way: str = "asgi") -> Any:
    at, number, connection = stages.at, 1, 77
    served = [(12_000, at.SERVED, connection)] if way == "asgi" else []
    http = [
        (10_000, at.ARRIVED, connection),
        *served,
        (15_000, at.IDENTIFIED, number),
        (20_000, at.SENDING, (attempt << 32) + number),
        (23_000, at.FLUSHED, 0),
        (25_000, at.SUBMITTED, number),
        (60_000, at.READ, 30),
        (64_000, at.SETTLED, number),
        (70_000, at.WRITTEN, connection),
        (90_000, at.ARRIVED, connection),
    ]
    worker = [
        (30_000, at.READ, 40),
        (33_000, at.BEGAN, attempt),
        (43_000, at.ENDED, attempt),
        (47_000, at.FLUSHED, 0),
        (48_000, at.FLUSHED, 0),
    ]
    found = stages.HttpTimelines()
    found.read(http)
    stages.add_worker(worker, found.by_attempt)
    return found.found[:1]


@pytest.mark.parametrize(("way", "framework"), [("asgi", 3.0), ("direct", 0.0)])
def test_marks_of_both_processes_become_the_stages_of_a_request(stages: Any, way: str, framework: float) -> None:
    """They are matched by attempt and connection, and the stages add up; a request without a scope has no framework."""
    times = stages.stage_times(stages.PENSTOCK_STAGES, timelines_of(stages, way=way), probe_micros=0.0)
    assert [each.median for each in times] == [5 - framework, framework, 5, 0, 3, 7, 3, 10, 4, 13, 4, 6, 20, 80]
    assert sum(each.share for each in times[:-1]) == pytest.approx(1.0)


def test_the_cost_of_probes_is_subtracted(stages: Any) -> None:
    """A stage loses the cost of the probes in it, which may be more than the one at its end, and is never negative."""
    (timeline,) = timelines_of(stages)
    assert timeline.micros("arrived", "identified", 0.5, same_process=True) == 5 - 2 * 0.5
    assert timeline.micros("flushed", "read", 0.5, same_process=False) == 7 - 0.5
    assert timeline.micros("arrived", "served", 9.0, same_process=True) == 0.0


def test_a_write_ends_at_the_latest_when_the_frame_has_been_read(stages: Any) -> None:
    """On a busy machine the writer may go on only after the reader; the time in between is not the write's."""
    (timeline,) = timelines_of(stages)
    timeline.marks["returned"] = (62_000, timeline.marks["returned"][1])
    assert timeline.micros("ended", "returned", 0.0, same_process=True) == 17
    assert timeline.micros("returned", "received", 0.0, same_process=False) == 0.0


def test_requests_that_go_another_way_are_reported(stages: Any) -> None:
    """If most requests lack a mark, there is no table but a message with the number of each mark."""
    (timeline,) = timelines_of(stages)
    del timeline.marks["settled"]
    with pytest.raises(SystemExit, match=r"of 1 requests, only 0 have all marks: .*'settled': 0.*/stage_probes.py"):
        stages.stage_times(stages.PENSTOCK_STAGES, [timeline], probe_micros=0.0)
