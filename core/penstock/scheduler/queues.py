"""In what order jobs wait."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import takewhile
from typing import Protocol

from penstock.scheduler.jobs import Job


class Queue(Protocol):
    """What a lane needs of its queue. Every operation should cost O(log n) or less.

    Attributes
    ----------
    jobs:
        What is in it, by ``Job.sequence``; read only, and only for whether it is empty and how many there are.
    size_bytes:
        The sum of its jobs' sizes.
    """

    jobs: OrderedDict[int, Job]
    size_bytes: int

    def __len__(self) -> int:
        """How many jobs are in it."""

    def __iter__(self) -> Iterator[Job]:
        """All of them, in no particular order."""

    def push(self, job: Job) -> None:
        """Add a job that has just arrived."""

    def push_front(self, job: Job) -> None:
        """Put back a job that had been taken out."""

    def head(self) -> Job:
        """The job whose turn it is. The queue must not be empty."""

    def pop(self) -> Job:
        """Take out the job whose turn it is. The queue must not be empty."""

    def remove(self, job: Job) -> None:
        """Take out a job that is somewhere in the queue."""


class FifoQueue:
    """Jobs in order of arrival. Every operation is O(1); to put one back, O(those that were put back before it)."""

    __slots__ = ("jobs", "size_bytes")

    def __init__(self) -> None:
        # An OrderedDict and not a dict: finding the first key of a dict whose first keys were deleted is O(n).
        self.jobs: OrderedDict[int, Job] = OrderedDict()  # by sequence; read it, and write through the methods
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs.values())

    def push(self, job: Job) -> None:
        """Add a job that has just arrived."""
        self.jobs[job.sequence] = job
        self.size_bytes += job.size_bytes

    def push_front(self, job: Job) -> None:
        """Put back a job that had been taken out: before all that have arrived since."""
        jobs = self.jobs
        # Only what had been taken out as well, and has come back sooner, can be older: never many.
        older = list(takewhile(job.sequence.__gt__, jobs))
        jobs[job.sequence] = job
        for sequence in (job.sequence, *reversed(older)):
            jobs.move_to_end(sequence, last=False)
        self.size_bytes += job.size_bytes

    def head(self) -> Job:
        """The job whose turn it is. The queue must not be empty."""
        return next(iter(self.jobs.values()))

    def pop(self) -> Job:
        """Take out the job whose turn it is. The queue must not be empty."""
        _, job = self.jobs.popitem(last=False)
        self.size_bytes -= job.size_bytes
        return job

    def remove(self, job: Job) -> None:
        """Take out a job that is somewhere in the queue."""
        del self.jobs[job.sequence]
        self.size_bytes -= job.size_bytes
