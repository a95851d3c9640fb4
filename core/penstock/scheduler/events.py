"""Events: the scheduler's input, in the past tense. Each is passed together with the instant at which it happened."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from penstock.errors import PenstockError
from penstock.scheduler.jobs import Job

NOT_BEGUN: Final = object()
"""A placeholder for a result: the worker was asked to give the attempt back and has not begun it."""


class Submitted(msgspec.Struct, gc=False):
    """A caller has submitted this job. It is answered at once if it is refused.

    ``elapsed`` is the part of its total time, in seconds, that had passed before: its request took that long to arrive.
    """

    job: Job
    elapsed: float = 0.0


class UploadBegan(msgspec.Struct, gc=False):
    """A large body has been announced, for which there is room."""

    size_bytes: int


class UploadEnded(msgspec.Struct, gc=False):
    """A large body that had been announced has arrived in full, or its client has gone."""

    size_bytes: int


class CancelRequested(msgspec.Struct, gc=False):
    """The job's caller has gone, or has cancelled it. Harmless when it comes too late."""

    job: Job
    reason: str


class StreamBegan(msgspec.Struct, gc=False):
    """An attempt answers with a stream. ``head`` is the response without its body, for the caller alone."""

    attempt: int
    head: Any


class ChunksArrived(msgspec.Struct, gc=False):
    """A stream has progressed: there are ``count`` more chunks for the caller to take."""

    attempt: int
    count: int


class ChunksTaken(msgspec.Struct, gc=False):
    """The caller has taken ``count`` of the chunks that had arrived."""

    job: Job
    count: int


class ResultsArrived(msgspec.Struct, gc=False):
    """An attempt has ended: its worker has sent the results, and its slot is free.

    ``results`` has one entry for each job of the attempt, in order: the result, or the error; or ``NOT_BEGUN`` for each
    if the worker has given the attempt back.
    """

    attempt: int
    seconds: float
    results: list[Any | PenstockError]


class Recalled(msgspec.Struct, gc=False):
    """The worker begins none of the recalled attempts; ``started`` is the last attempt that it has begun."""

    worker: int
    started: int


class SetupFinished(msgspec.Struct, gc=False):
    """The worker has set up its models in ``seconds``, and is ready."""

    worker: int
    seconds: float


class WorkersDied(msgspec.Struct, gc=False):
    """The processes of these workers have ended, or are about to.

    What they sent before may still arrive, and their exits follow, one by one. No job must go from one dead worker to
    another meanwhile.
    """

    workers: list[int]


class WorkerExited(msgspec.Struct, gc=False):
    """The worker's process has ended, for any reason.

    ``error`` is the traceback of a failed set-up. ``started`` is the id of the attempt that was inside the user's code,
    0 if none was, or None if that is unknown (async code and threads): every attempt then counts as begun.
    """

    worker: int
    reason: str
    error: str = ""
    started: int | None = None


class WorkerSuspended(msgspec.Struct, gc=False):
    """The worker's process was stopped by a signal, and not continued in time: it must be replaced."""

    worker: int
    reason: str


class ProtocolBroken(msgspec.Struct, gc=False):
    """The worker has reported something that cannot be true: see ``conduct``. ``started`` as in ``WorkerExited``."""

    worker: int
    reason: str
    started: int | None = None


class MemoryMeasured(msgspec.Struct, gc=False):
    """A worker that is ready uses ``size_bytes`` of memory, its child processes included.

    ``available_bytes`` is what the machine has left. ``started`` as in ``WorkerExited``.
    """

    worker: int
    size_bytes: int
    available_bytes: int
    started: int | None = None


class CheckFailed(msgspec.Struct, gc=False):
    """A model's own check says that it does not work any more."""

    worker: int
    reason: str


class ScaleRequested(msgspec.Struct, gc=False):
    """A pool is to have this number of workers, at least one, besides its spares."""

    pool: str
    workers: int
    who: str = ""


class StartRequested(msgspec.Struct, gc=False):
    """The workers are to be started. Exactly once, before any other event."""


class ImportFailed(msgspec.Struct, gc=False):
    """The app cannot be imported where the workers come from, so there will be none."""

    error: str


class PauseRequested(msgspec.Struct, gc=False):
    """New work is to be refused until further notice. ``who`` and ``why`` are for the operator's log."""

    who: str = ""
    why: str = ""


class ResumeRequested(msgspec.Struct, gc=False):
    """New work is to be accepted again. Has no effect on a drain."""

    who: str = ""
    why: str = ""


class DrainRequested(msgspec.Struct, gc=False):
    """Admitted jobs are to be finished and new ones refused; at the instant ``deadline`` the rest is abandoned."""

    deadline: float


class TimePassed(msgspec.Struct, gc=False):
    """The instant ``next_wakeup()`` has come; nothing else has happened."""


Event = (
    Submitted
    | UploadBegan
    | UploadEnded
    | CancelRequested
    | StreamBegan
    | ChunksArrived
    | ChunksTaken
    | ResultsArrived
    | Recalled
    | SetupFinished
    | WorkersDied
    | WorkerExited
    | WorkerSuspended
    | ProtocolBroken
    | MemoryMeasured
    | CheckFailed
    | ScaleRequested
    | StartRequested
    | ImportFailed
    | PauseRequested
    | ResumeRequested
    | DrainRequested
    | TimePassed
)
