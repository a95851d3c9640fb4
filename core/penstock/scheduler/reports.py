"""Reports: what an operator may want to know, for the log and for the observers of plug-ins.

Each is one typed record. ``event`` is the name under which the operator log writes it.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from penstock.errors import HandlerError, WorkerLost
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lane_counts import RecentCounts
from penstock.scheduler.lanes import Lane
from penstock.scheduler.pools import Place, Worker, WorkerPool

# Why a worker is recycled.
ATTEMPTS: Final = "attempts"
AGE: Final = "age"
MEMORY: Final = "memory"
INTERRUPT: Final = "interrupt"
CHECK: Final = "check"


class WorkerReadyReport(msgspec.Struct):
    """A worker has set up its models in ``seconds``."""

    event: ClassVar[str] = "worker-ready"

    worker: Worker
    seconds: float


class PoolReadyReport(msgspec.Struct):
    """A pool has its first ready worker, ``seconds`` after that worker's start, imports included."""

    event: ClassVar[str] = "pool-ready"

    pool: WorkerPool
    seconds: float


class PoolFailedReport(msgspec.Struct):
    """A pool could not be started and was given up. ``error`` is the traceback, or a sentence."""

    event: ClassVar[str] = "pool-failed"

    pool: WorkerPool
    error: str


class WorkerLostReport(msgspec.Struct):
    """A worker's process has ended by itself.

    ``was`` is the state it was in, ``attempts`` those it held, ``error`` the traceback of a failed set-up, or "".
    """

    event: ClassVar[str] = "worker-lost"

    worker: Worker
    was: str
    attempts: list[Attempt]
    reason: str
    error: str


class RestartReport(msgspec.Struct):
    """The worker of a place is replaced after ``delay`` seconds."""

    event: ClassVar[str] = "restart"

    place: Place
    delay: float


class RecycleReport(msgspec.Struct):
    """A worker is replaced by a new one, for one of the reasons above. ``detail`` is a sentence, or "".

    ``is_ready_first`` is true if it works until its replacement is ready.
    """

    event: ClassVar[str] = "recycle"

    worker: Worker
    reason: str
    detail: str
    is_ready_first: bool


class LimitTooLowReport(msgspec.Struct):
    """A worker uses more memory than its pool's limit as soon as it is ready, so the limit has no effect on it."""

    event: ClassVar[str] = "memory-limit-too-low"

    worker: Worker
    limit: int


class TakeOverReport(msgspec.Struct):
    """A spare has taken the place of a worker that is gone, or has been added to the working ones."""

    event: ClassVar[str] = "take-over"

    worker: Worker


class ScaleReport(msgspec.Struct):
    """The number of a pool's workers was changed by ``who``; ``before`` is the former number."""

    event: ClassVar[str] = "scale"

    pool: WorkerPool
    before: int
    who: str


class InterruptReport(msgspec.Struct):
    """An attempt was interrupted, because ``job``, the last that waited for it, has been answered. ``why``: a limit."""

    event: ClassVar[str] = "interrupt"

    attempt: Attempt
    job: Job
    why: str


class OverstayReport(msgspec.Struct):
    """An attempt has not stopped within the grace period after its interrupt."""

    event: ClassVar[str] = "overstayed"

    attempt: Attempt


class KillReport(msgspec.Struct):
    """A worker was killed while it held ``attempts``; ``is_routine`` is true if nothing is wrong with it."""

    event: ClassVar[str] = "kill"

    worker: Worker
    attempts: list[Attempt]
    reason: str
    is_routine: bool


class PauseReport(msgspec.Struct):
    """The server was taken out of rotation, with ``jobs`` admitted and unanswered."""

    event: ClassVar[str] = "pause"

    who: str
    why: str
    jobs: int


class ResumeReport(msgspec.Struct):
    """The server is back in rotation."""

    event: ClassVar[str] = "resume"

    who: str
    why: str
    jobs: int


class DrainReport(msgspec.Struct):
    """A drain has begun: ``jobs`` have ``seconds`` to finish."""

    event: ClassVar[str] = "drain"

    jobs: int
    seconds: float


class DrainTimeoutReport(msgspec.Struct):
    """The time of a drain is over: the remaining ``jobs`` are stopped."""

    event: ClassVar[str] = "drain-timeout"

    jobs: int


class AbandonReport(msgspec.Struct):
    """A job was abandoned at the end of a drain, in ``state``."""

    event: ClassVar[str] = "abandoned"

    job: Job
    state: str


class RetryReport(msgspec.Struct):
    """A job has failed with ``error`` in its attempt number ``attempt``, and is tried again after ``delay`` seconds."""

    event: ClassVar[str] = "retry"

    job: Job
    attempt: int
    delay: float
    error: HandlerError | WorkerLost


class CountsReport(msgspec.Struct):
    """Many jobs of a lane have been answered since the last such report, or it was asked for."""

    event: ClassVar[str] = "counts"

    lane: Lane
    counts: RecentCounts


AnyReport = (
    CountsReport
    | WorkerReadyReport
    | PoolReadyReport
    | PoolFailedReport
    | WorkerLostReport
    | RestartReport
    | RecycleReport
    | LimitTooLowReport
    | TakeOverReport
    | ScaleReport
    | InterruptReport
    | OverstayReport
    | KillReport
    | PauseReport
    | ResumeReport
    | DrainReport
    | DrainTimeoutReport
    | AbandonReport
    | RetryReport
)
