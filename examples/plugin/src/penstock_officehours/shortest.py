"""A queue in which the job with the smallest body goes first."""

from __future__ import annotations

from heapq import heappop, heappush

from penstock.hooks import FifoQueue, Job


class ShortestFirst(FifoQueue):
    """Derived from ``FifoQueue``, which keeps the books; only the order is this one's own.

    Long ones may wait for ever, or rather for the endpoint's ``queue`` time-out.
    """

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        super().__init__()
        self._heap: list[tuple[int, int]] = []  # size and sequence; those that have left are taken out when met

    def push(self, job: Job, now: float, /) -> None:
        """Add a job that has just arrived."""
        super().push(job, now)
        heappush(self._heap, (job.size_bytes, job.sequence))

    def push_front(self, job: Job, now: float, /) -> None:
        """Put back a job that had been taken out: it has had its turn, and goes before all others."""
        super().push_front(job, now)
        heappush(self._heap, (-1, job.sequence))

    def head(self, _now: float, /) -> Job:
        """The job with the smallest body; of several, the oldest."""
        while self._heap[0][1] not in self.jobs:
            heappop(self._heap)
        return self.jobs[self._heap[0][1]]

    def pop(self, now: float, /) -> Job:
        """Take that one out."""
        job = self.head(now)
        heappop(self._heap)
        self.remove(job, "start", now)
        return job
