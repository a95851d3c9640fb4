"""A check that queues that shed are asked when to give jobs up, are obeyed, and learn of every attempt."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from penstock.scheduler import GuardedQueue, Job, Lane, Queue
from penstock.testing.whimsical_queues import WhimsicalQueue


class Opinions:
    """A watch over the lanes of a simulation whose queues are whimsical, guarded or not.

    Parameters
    ----------
    lanes:
        All lanes of the simulation. Lanes whose queues have no opinion are ignored.
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
        """Return whether the job's queue has said that the job is to be shed now."""
        return job.lane in self._queues and job.sequence in self._queues[job.lane].given_up

    def note_end(self, lane: Lane) -> None:
        """Record that an attempt has ended that a caller still waited for."""
        if lane in self._queues:
            self._lessons[lane] += 1

    def problem_of_start(self, job: Job, now: float, latest: int) -> str | None:
        """Return the rule that was broken when this job was sent, or None.

        ``latest`` is 0, unless the job was sent before an older one: then it is the sequence number of the latest job
        that had arrived by then.
        """
        lane = job.lane
        if job.sequence in lane.queue.jobs:
            return "its queue still holds it"
        queue = self._queues[lane]
        if queue is lane.queue and queue.asked.get(job.sequence) != now:  # a clumsy queue may have changed its mind
            return "its queue was not asked when to give it up"
        if lane.served < latest:
            return f"{lane!r} has had a turn, and its rank has not changed"
        return None

    def problem(self, now: float) -> str | None:
        """Return the rule that is broken between two events, or None."""
        for lane, queue in self._queues.items():
            if queue.lessons != self._lessons[lane]:
                return f"{lane!r}: the queue has learned of {queue.lessons} of {self._lessons[lane]} attempts"
            for job in lane.queue if queue is lane.queue else ():
                if job.sequence not in queue.asked:
                    return f"{job!r} is in a queue that was not asked when to give it up"
                when = queue.said.get(job.sequence, math.inf)
                if when <= now or job.armed > when:
                    return f"{job!r} is to be given up at {when}, but its timer is armed for {job.armed}"
        return None


def _inner(queue: Queue) -> Queue:
    return queue._inner if isinstance(queue, GuardedQueue) else queue
