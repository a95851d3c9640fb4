"""Queue disciplines: the order in which jobs wait, and which of them are refused or shed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import takewhile
from typing import ClassVar, Protocol

from penstock.errors import PenstockError
from penstock.scheduler.jobs import Job
from penstock.scheduler.timers import NEVER


class Queue(Protocol):
    """The interface of a lane's queue. Every operation should cost O(log n) or less.

    Attributes
    ----------
    jobs:
        The queued jobs by ``Job.sequence``, which is the order of arrival. The scheduler only reads it, to find out
        whether the queue is empty, how many jobs there are, and which one is the oldest.
    size_bytes:
        The sum of the jobs' sizes.
    sheds:
        True if the queue recognizes deadlines that cannot be met. If False, ``give_up_at``, ``retry_after`` and
        ``execution_seconds`` are never called.
    """

    jobs: OrderedDict[int, Job]
    size_bytes: int
    sheds: ClassVar[bool]

    def __len__(self) -> int:
        """Return the number of queued jobs."""

    def __iter__(self) -> Iterator[Job]:
        """Iterate over the queued jobs, in any order."""

    def push(self, job: Job, now: float, /) -> None:
        """Add a job that has just arrived."""

    def push_front(self, job: Job, now: float, /) -> None:
        """Put back a job that had been removed."""

    def head(self, now: float, /) -> Job:
        """Return the job whose turn it is. The queue must not be empty."""

    def pop(self, now: float, /) -> Job:
        """Remove and return the job that ``head`` returns at this instant. The queue must not be empty."""

    def remove(self, job: Job, why: str, now: float, /) -> None:
        """Remove a job from anywhere in the queue.

        ``why`` is "cancel" (its caller has gone), "expire" (its time is over), "shed" or "fail".
        """

    def refusal(self, job: Job | None, now: float, /) -> PenstockError | None:
        """Return why this job is refused, or None to admit it. ``job`` is None before a request's body is read."""

    def give_up_at(self, job: Job, now: float, /) -> float:
        """Return the instant at which a queued job is to be shed because its deadline can no longer be met.

        ``NEVER`` if there is none. Called when the job is pushed, again at that instant, and before the job starts.
        """

    def retry_after(self, now: float, /) -> float | None:
        """Return the seconds after which a refused caller should try again; None if unknown."""

    def execution_seconds(self, now: float, /) -> float | None:
        """Return the seconds that a job is expected to run for if it runs alone; None if unknown."""

    def learn(self, jobs: int, seconds: float, now: float, /) -> None:
        """Record that an attempt of ``jobs`` jobs, at least one still wanted, spent ``seconds`` in the user's code."""


class FifoQueue:
    """Jobs in order of arrival. Every operation is O(1), except for putting a job back: O(jobs put back before it).

    Other disciplines derive from it and override only what they decide differently.
    """

    __slots__ = ("jobs", "size_bytes")

    sheds: ClassVar[bool] = False
    sees_all: ClassVar[bool] = False
    """True if even a job that could start at once must pass through the queue. Otherwise the queue is only asked when
    to give it up, if it has a deadline."""

    def __init__(self) -> None:
        # An OrderedDict and not a dict: finding the first key of a dict whose first keys were deleted is O(n).
        self.jobs: OrderedDict[int, Job] = OrderedDict()  # by sequence; write to it only through the methods
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
        """Put back a job that had been removed, before all jobs that have arrived since."""
        jobs = self.jobs
        # Only jobs that had been removed too, and have come back sooner, can be older: never many.
        older = list(takewhile(job.sequence.__gt__, jobs))
        jobs[job.sequence] = job
        for sequence in (job.sequence, *reversed(older)):
            jobs.move_to_end(sequence, last=False)
        self.size_bytes += job.size_bytes

    def head(self, _now: float, /) -> Job:
        """Return the job that has waited longest. The queue must not be empty."""
        return next(iter(self.jobs.values()))

    def pop(self, _now: float, /) -> Job:
        """Remove and return the job that has waited longest. The queue must not be empty."""
        _, job = self.jobs.popitem(last=False)
        self.size_bytes -= job.size_bytes
        return job

    def remove(self, job: Job, _why: str, _now: float, /) -> None:
        """Remove a job from anywhere in the queue."""
        del self.jobs[job.sequence]
        self.size_bytes -= job.size_bytes

    def refusal(self, _job: Job | None, _now: float, /) -> PenstockError | None:
        """Admit every job."""
        return None

    def give_up_at(self, _job: Job, _now: float, /) -> float:
        """Return ``NEVER``: no job is shed."""
        return NEVER

    def retry_after(self, _now: float, /) -> float | None:
        """Return None: unknown."""
        return None

    def execution_seconds(self, _now: float, /) -> float | None:
        """Return None: unknown."""
        return None

    def learn(self, jobs: int, seconds: float, now: float, /) -> None:
        """Learn nothing."""
