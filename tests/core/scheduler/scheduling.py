"""Helpers shared by the tests of the scheduler."""

from __future__ import annotations

from typing import Any

from penstock.errors import PenstockError
from penstock.scheduler import Job, LaneSpec, PoolSpec
from penstock.scheduler import commands as do
from penstock.testing import FakeEngine


def ready(*lanes: LaneSpec, workers: int = 1, capacity: int = 1, **options: Any) -> FakeEngine:
    """Return an engine at the instant 1.0, with its workers ready."""
    engine = FakeEngine(
        [PoolSpec(name="default", workers=workers, capacity=capacity)], lanes or [LaneSpec(name="lane")], **options
    )
    engine.start()
    engine.advance(1.0)
    engine.reports.clear()
    return engine


def lane(**options: Any) -> LaneSpec:
    """Return the spec of a lane called "lane"."""
    return LaneSpec(**{"name": "lane", **options})


def code(job: Job) -> str | None:
    """Return the job's answer: "ok" or the code of its error; None if it is not answered."""
    if job.outcome is None:
        return None
    return job.outcome.code if isinstance(job.outcome, PenstockError) else "ok"


def codes(*jobs: Job) -> list[str | None]:
    """Return the answers of the jobs."""
    return [code(job) for job in jobs]


def events(engine: FakeEngine) -> list[str]:
    """Return the names of the reported events."""
    return [report.event for report in engine.reports]


def names(commands: list[do.Command]) -> list[str]:
    """Return the commands by name, and a report by its event."""
    return [command.report.event if isinstance(command, do.Report) else type(command).__name__ for command in commands]
