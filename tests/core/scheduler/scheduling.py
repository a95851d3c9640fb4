"""What the tests of the scheduler share."""

from __future__ import annotations

from typing import Any

from penstock.errors import PenstockError
from penstock.scheduler import Job, LaneSpec, PoolSpec
from penstock.scheduler import commands as do
from penstock.testing import FakeEngine


def ready(*lanes: LaneSpec, workers: int = 1, capacity: int = 1) -> FakeEngine:
    """An engine whose workers are ready, at the instant 1.0."""
    engine = FakeEngine(
        [PoolSpec(name="default", workers=workers, capacity=capacity)], lanes or [LaneSpec(name="lane")]
    )
    engine.start()
    engine.advance(1.0)
    engine.reports.clear()
    return engine


def lane(**options: Any) -> LaneSpec:
    """A lane called "lane"."""
    return LaneSpec(**{"name": "lane", **options})


def code(job: Job) -> str | None:
    """How the job was answered: "ok", the code of its error, or None if it was not."""
    if job.outcome is None:
        return None
    return job.outcome.code if isinstance(job.outcome, PenstockError) else "ok"


def codes(*jobs: Job) -> list[str | None]:
    """How the jobs were answered."""
    return [code(job) for job in jobs]


def events(engine: FakeEngine) -> list[str]:
    """What was reported."""
    return [report.event for report in engine.reports]


def names(commands: list[do.Command]) -> list[str]:
    """The commands by name; a report by its event."""
    return [command.report.event if isinstance(command, do.Report) else type(command).__name__ for command in commands]
