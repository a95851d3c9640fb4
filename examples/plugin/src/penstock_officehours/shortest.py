"""A queue that runs the job with the smallest body first."""

from __future__ import annotations

from heapq import heappop, heappush

from penstock.hooks import FifoQueue, Job


class ShortestFirst(FifoQueue):
    """A ``FifoQueue`` with a different order. The base class keeps the counts.

    Long jobs may wait indefinitely, up to the endpoint's ``queue`` timeout.
    """

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        super().__init__()
        self._heap: list[tuple[int, int]] = []  # size and sequence number; `head` drops the jobs that have left

    def push(self, job: Job, now: float, /) -> None:
        """Add a new job."""
        super().push(job, now)
        heappush(self._heap, (job.size_bytes, job.sequence))

    def push_front(self, job: Job, now: float, /) -> None:
        """Put back a job that was taken out. It goes before all others, as it has had its turn already."""
        super().push_front(job, now)
        heappush(self._heap, (-1, job.sequence))

    def head(self, _now: float, /) -> Job:
        """Return the job with the smallest body; of several, the oldest."""
        while self._heap[0][1] not in self.jobs:
            heappop(self._heap)
        return self.jobs[self._heap[0][1]]

    def pop(self, now: float, /) -> Job:
        """Remove that job and return it."""
        job = self.head(now)
        heappop(self._heap)
        self.remove(job, "start", now)
        return job
