"""In what order jobs wait, and which of them are refused or shed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import takewhile
from typing import ClassVar, Protocol

from penstock.errors import PenstockError
from penstock.scheduler.jobs import Job
from penstock.scheduler.timers import NEVER


class Queue(Protocol):
    """What a lane needs of its queue. Every operation should cost O(log n) or less.

    Attributes
    ----------
    jobs:
        What is in it, by ``Job.sequence``, which is the order of arrival; read only, and only for whether it is empty,
        how many there are, and which one is the oldest.
    size_bytes:
        The sum of its jobs' sizes.
    sheds:
        Whether it knows of deadlines that cannot be met. If not, ``give_up_at`` and ``retry_after`` are never asked.
    """

    jobs: OrderedDict[int, Job]
    size_bytes: int
    sheds: ClassVar[bool]

    def __len__(self) -> int:
        """How many jobs are in it."""

    def __iter__(self) -> Iterator[Job]:
        """All of them, in no particular order."""

    def push(self, job: Job, now: float, /) -> None:
        """Add a job that has just arrived."""

    def push_front(self, job: Job, now: float, /) -> None:
        """Put back a job that had been taken out."""

    def head(self, now: float, /) -> Job:
        """The job whose turn it is. The queue must not be empty."""

    def pop(self, now: float, /) -> Job:
        """Take out the job that ``head`` gives at this instant. The queue must not be empty."""

    def remove(self, job: Job, why: str, now: float, /) -> None:
        """Take out a job that is somewhere in the queue.

        ``why`` is "cancel" (its caller has gone), "expire" (its time is over), "shed" or "fail".
        """

    def refusal(self, job: Job | None, now: float, /) -> PenstockError | None:
        """Why this job may not come in; None if it may. With None for the job: any job, before its body is read."""

    def give_up_at(self, job: Job, now: float, /) -> float:
        """The instant at which a job that is in the queue is to be shed, for its deadline cannot be met any more.

        ``NEVER`` if there is none. Asked when the job is pushed, again at that instant, and before it is started.
        """

    def retry_after(self, now: float, /) -> float | None:
        """Seconds after which a caller who is refused should try again; None if that is not known."""

    def learn(self, jobs: int, seconds: float, now: float, /) -> None:
        """An attempt of so many jobs, one of which was still wanted, has ended after so long in the user's code."""


class FifoQueue:
    """Jobs in order of arrival. Every operation is O(1); to put one back, O(those that were put back before it).

    Meant to be derived from: what another discipline does not decide differently, it need not write.
    """

    __slots__ = ("jobs", "size_bytes")

    sheds: ClassVar[bool] = False

    def __init__(self) -> None:
        # An OrderedDict and not a dict: finding the first key of a dict whose first keys were deleted is O(n).
        self.jobs: OrderedDict[int, Job] = OrderedDict()  # by sequence; read it, and write through the methods
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs.values())

    def push(self, job: Job, _now: float, /) -> None:
        """Add a job that has just arrived."""
        self.jobs[job.sequence] = job
        self.size_bytes += job.size_bytes

    def push_front(self, job: Job, _now: float, /) -> None:
        """Put back a job that had been taken out: before all that have arrived since."""
        jobs = self.jobs
        # Only what had been taken out as well, and has come back sooner, can be older: never many.
        older = list(takewhile(job.sequence.__gt__, jobs))
        jobs[job.sequence] = job
        for sequence in (job.sequence, *reversed(older)):
            jobs.move_to_end(sequence, last=False)
        self.size_bytes += job.size_bytes

    def head(self, _now: float, /) -> Job:
        """The job that has waited longest. The queue must not be empty."""
        return next(iter(self.jobs.values()))

    def pop(self, _now: float, /) -> Job:
        """Take out the job that has waited longest. The queue must not be empty."""
        _, job = self.jobs.popitem(last=False)
        self.size_bytes -= job.size_bytes
        return job

    def remove(self, job: Job, _why: str, _now: float, /) -> None:
        """Take out a job that is somewhere in the queue."""
        del self.jobs[job.sequence]
        self.size_bytes -= job.size_bytes

    def refusal(self, _job: Job | None, _now: float, /) -> PenstockError | None:
        """Let everybody in."""
        return None

    def give_up_at(self, _job: Job, _now: float, /) -> float:
        """Never."""
        return NEVER

    def retry_after(self, _now: float, /) -> float | None:
        """Nobody knows."""
        return None

    def learn(self, jobs: int, seconds: float, now: float, /) -> None:
        """Learn nothing."""
