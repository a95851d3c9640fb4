"""Whether queues that have opinions are asked for them, heard, and told what they want to know."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from penstock.scheduler import GuardedQueue, Job, Lane, Queue
from penstock.testing.whimsical_queues import WhimsicalQueue


class Opinions:
    """Watches the lanes of a simulation whose queues are whimsical, guarded or not.

    Parameters
    ----------
    lanes:
        All lanes; those whose queues have no opinion are left alone.
    """

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self._queues: dict[Lane, WhimsicalQueue] = {}
        for lane in lanes:
            queue = _inner(lane.queue)
            if isinstance(queue, WhimsicalQueue):
                self._queues[lane] = queue
        self._lessons: Counter[Lane] = Counter()

    def __contains__(self, lane: Lane) -> bool:
        return lane in self._queues

    def has_given_up(self, job: Job) -> bool:
        """Whether the job's queue has said that it is to be shed now."""
        return job.lane in self._queues and job.sequence in self._queues[job.lane].given_up

    def note_end(self, lane: Lane) -> None:
        """An attempt has ended that somebody still waited for."""
        if lane in self._queues:
            self._lessons[lane] += 1

    def problem_of_start(self, job: Job, now: float, latest: int) -> str | None:
        """What is wrong with a job that has been sent.

        If it has gone before an older one, ``latest`` is the number of the latest job that had come by then; else 0.
        """
        lane = job.lane
        if job.sequence in lane.queue.jobs:
            return "its queue has not let it go"
        queue = self._queues[lane]
        if queue is lane.queue and queue.asked.get(job.sequence) != now:  # a clumsy one may have changed its mind
            return "its queue was not asked whether to give it up"
        if lane.served < latest:
            return f"{lane!r} has had its turn, which has cost it nothing"
        return None

    def problem(self, now: float) -> str | None:
        """What is wrong between two events."""
        for lane, queue in self._queues.items():
            if queue.lessons != self._lessons[lane]:
                return f"{lane!r} has been told of {queue.lessons} attempts, and {self._lessons[lane]} have ended"
            for job in lane.queue if queue is lane.queue else ():
                if job.sequence not in queue.asked:
                    return f"{job!r} is in a queue that was not asked when to give it up"
                when = queue.said.get(job.sequence, math.inf)
                if when <= now or job.armed > when:
                    return f"{job!r} is to be given up at {when}, and its timer is for {job.armed}"
        return None


def _inner(queue: Queue) -> Queue:
    return queue._inner if isinstance(queue, GuardedQueue) else queue
