"""Fair order among the jobs of one priority: shares take turns in rounds, and each share's jobs go in a given order.

A share holds one caller's jobs in the queue. In a round each share is served at most once, in the order of the shares'
first jobs. A round ends when every share has been served, or after as many jobs as there were shares when it began.
The second condition keeps a caller from waiting forever for other callers who arrive after it. A caller without jobs in
the queue is forgotten at the end of the round, so memory is bounded by the queue.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final, NamedTuple

from penstock.hooks import Job

_SMALL: Final = 64  # stale entries of a heap that do not justify a rebuild


class Share:
    """One caller's jobs of one priority, in order of arrival."""

    __slots__ = ("jobs", "rank")

    def __init__(self) -> None:
        self.jobs: OrderedDict[int, Job] = OrderedDict()
        self.rank: Any = None  # the rank of its first job, as last pushed onto the heap of its level

    def push(self, job: Job) -> None:
        """Add a job that has just arrived."""
        self.jobs[job.sequence] = job


class DeadlineShare(Share):
    """A share that also keeps its jobs by deadline."""

    __slots__ = ("deadlines",)

    def __init__(self) -> None:
        super().__init__()
        self.deadlines: list[tuple[float, int]] = []  # a heap, which also holds entries of jobs that have left

    def push(self, job: Job) -> None:
        """Add a job that has just arrived."""
        super().push(job)
        heappush(self.deadlines, (job.finish_by, job.sequence))
        if len(self.deadlines) > 2 * len(self.jobs) + _SMALL:
            self.deadlines = [(other.finish_by, other.sequence) for other in self.jobs.values()]
            heapify(self.deadlines)

    def earliest(self) -> Job:
        """Return the job with the earliest deadline. The share must not be empty."""
        while self.deadlines[0][1] not in self.jobs:
            heappop(self.deadlines)
        return self.jobs[self.deadlines[0][1]]


class Order(NamedTuple):
    """An order of jobs: how to find the first job of a share, and a rank, by which the lowest of several goes first."""

    first: Callable[[Any], Job]
    rank: Callable[[Job], Any]
    new_share: Callable[[], Share] = Share


OLDEST: Final = Order(lambda share: next(iter(share.jobs.values())), lambda job: job.sequence)
NEWEST: Final = Order(lambda share: next(reversed(share.jobs.values())), lambda job: -job.sequence)
EARLIEST: Final = Order(DeadlineShare.earliest, lambda job: (job.finish_by, job.sequence), DeadlineShare)


class Level:
    """The jobs of one priority. Every operation is O(log n) in the number of shares, and O(1) while there is one.

    Parameters
    ----------
    order:
        The order of the jobs.
    """

    __slots__ = ("_heap", "_left", "_served", "jobs", "order", "owed", "shares")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.jobs: OrderedDict[int, Job] = OrderedDict()  # in order of arrival
        self.shares: dict[str, Share] = {}  # without empty ones
        self.owed = 0  # the number of more urgent jobs taken while these waited
        # The rank and the name of each share that may be served in this round. Stale entries are skipped when they
        # reach the top. None while there is only one share: then there is nothing to choose.
        self._heap: list[tuple[Any, str]] | None = None
        self._served: set[str] = set()  # the shares that have had their turn in this round
        self._left = 0  # the number of jobs after which the round ends in any case

    def __repr__(self) -> str:
        return f"<Level of {len(self.jobs)} jobs in {len(self.shares)} shares>"

    def push(self, job: Job) -> None:
        """Add a job that has just arrived."""
        self.jobs[job.sequence] = job
        share = self.shares.get(job.share)
        if share is None:
            share = self.shares[job.share] = self.order.new_share()
        share.push(job)
        if self._heap is not None:
            self._rank(job.share, share)

    def first(self) -> Job:
        """Return the job whose turn it is. The level must not be empty."""
        shares = self.shares
        if len(shares) == 1:
            (share,) = shares.values()
            return self.order.first(share)
        if self._heap is None:
            self._begin_round()
        return self._first_ranked()

    def _first_ranked(self) -> Job:
        while True:
            heap = self._heap
            assert heap is not None
            while heap:
                rank, name = heap[0]
                share = self.shares.get(name)
                if share is not None and share.rank == rank and name not in self._served:
                    return self.order.first(share)
                heappop(heap)
            self._begin_round()

    def pop(self, job: Job) -> None:
        """Remove the job whose turn it is, and count its share as served."""
        self.remove(job)
        if self._heap is not None:
            self._served.add(job.share)
            self._left -= 1
            if self._left <= 0:
                self._begin_round()

    def remove(self, job: Job) -> None:
        """Remove a job from anywhere in the level."""
        del self.jobs[job.sequence]
        share = self.shares[job.share]
        del share.jobs[job.sequence]
        if share.jobs:
            if self._heap is not None:
                self._rank(job.share, share)
            return
        del self.shares[job.share]
        if len(self.shares) <= 1:
            self._heap = None
            self._served.clear()

    def reorder(self, order: Order) -> None:
        """Change the order of the jobs. Costs O(n) in the number of shares."""
        self.order = order
        if self._heap is not None:
            self._rebuild()

    def turns_before(self, name: str) -> int:
        """Return the number of other shares that may be served before this one."""
        return len(self.shares) - 1 if name in self._served else 0

    def _rank(self, name: str, share: Share) -> None:
        """Push the share's first job onto the heap, if that job has changed."""
        rank = self.order.rank(self.order.first(share))
        if rank == share.rank:
            return
        share.rank = rank
        if name not in self._served:
            heap = self._heap
            assert heap is not None
            heappush(heap, (rank, name))
            if len(heap) > 4 * len(self.shares) + _SMALL:
                self._rebuild()

    def _begin_round(self) -> None:
        """Begin a new round: shares that have been served may be served again."""
        heap, served, self._served = self._heap, self._served, set()
        self._left = len(self.shares)
        if heap is None:
            self._rebuild()
            return
        for name in served:
            share = self.shares.get(name)
            if share is not None:
                heappush(heap, (share.rank, name))

    def _rebuild(self) -> None:
        order = self.order
        for share in self.shares.values():
            share.rank = order.rank(order.first(share))
        self._heap = [(share.rank, name) for name, share in self.shares.items() if name not in self._served]
        heapify(self._heap)
