"""What has happened: the scheduler's input. Past tense, and always with the instant at which it happened beside it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from penstock.errors import PenstockError
from penstock.scheduler.jobs import Job

NOT_BEGUN: Final = object()
"""In the place of a result: the worker had been told to give the attempt back, and has not begun it."""


class Submitted(msgspec.Struct, gc=False):
    """A caller wants this job done. It is answered at once if there is no room for it."""

    job: Job


class CancelRequested(msgspec.Struct, gc=False):
    """The job's caller has gone, or has cancelled it. Harmless when it comes too late."""

    job: Job
    reason: str


class ChunksArrived(msgspec.Struct, gc=False):
    """A stream has got on: the caller has ``count`` more chunks to take."""

    attempt: int
    count: int


class ChunksTaken(msgspec.Struct, gc=False):
    """The caller has taken ``count`` of the chunks that had arrived."""

    job: Job
    count: int


class ResultsArrived(msgspec.Struct, gc=False):
    """The worker has said the last word on an attempt: its slot is free.

    ``results`` has one entry for each job of the attempt, in its order: what to answer, or the error; or ``NOT_BEGUN``
    for each, where the worker has given the attempt back.
    """

    attempt: int
    seconds: float
    results: list[Any | PenstockError]


class Recalled(msgspec.Struct, gc=False):
    """The worker begins nothing more that it had been sent ahead; ``started`` is the last attempt that it has begun."""

    worker: int
    started: int


class SetupFinished(msgspec.Struct, gc=False):
    """The worker has set up its models, in ``seconds``."""

    worker: int
    seconds: float


class WorkerExited(msgspec.Struct, gc=False):
    """The worker's process has ended, for whatever reason.

    ``error`` is the traceback of a failed set-up. ``started`` is the id of the attempt that was inside the user's code,
    0 if none was, or None where that is not known (async code and threads): every attempt is then taken to have been.
    """

    worker: int
    reason: str
    error: str = ""
    started: int | None = None


class StartRequested(msgspec.Struct, gc=False):
    """Start the workers. Once, before anything else."""


class ImportFailed(msgspec.Struct, gc=False):
    """The app cannot be imported where the workers come from: there will be none."""

    error: str


class PauseRequested(msgspec.Struct, gc=False):
    """Take nothing new until further notice. ``who`` and ``why`` are for the operator's log."""

    who: str = ""
    why: str = ""


class ResumeRequested(msgspec.Struct, gc=False):
    """Take new work again. Too late for a drain."""

    who: str = ""
    why: str = ""


class DrainRequested(msgspec.Struct, gc=False):
    """Finish what is admitted, take nothing new; at the instant ``deadline`` give up on the rest."""

    deadline: float


class TimePassed(msgspec.Struct, gc=False):
    """Nothing but that ``next_wakeup()`` has come."""


Event = (
    Submitted
    | CancelRequested
    | ChunksArrived
    | ChunksTaken
    | ResultsArrived
    | Recalled
    | SetupFinished
    | WorkerExited
    | StartRequested
    | ImportFailed
    | PauseRequested
    | ResumeRequested
    | DrainRequested
    | TimePassed
)
