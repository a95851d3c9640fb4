"""The queue disciplines: the order of jobs, and which jobs are refused or shed.

All disciplines have priorities with ageing and fair shares, and refuse or shed a job that cannot meet its deadline.
They differ in the order of one caller's jobs of one priority. The default was chosen by simulation: see
docs/overload-study.md.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import islice
from typing import ClassVar, Final

from penstock.errors import DeadlineInfeasible
from penstock.hooks import PRIORITIES, FifoQueue, Job, PenstockError
from penstock_overload.estimates import DrainRate, Executions, Patience
from penstock_overload.levels import EARLIEST, NEWEST, OLDEST, Level, Order

NEVER: Final = math.inf

AGEING: Final = 16
"""The number of turns of more urgent priorities after which a waiting priority gets one: at least 6 % of the work."""

SPARED: Final = 64
"""One job in this many is not shed for its caller's expected impatience; otherwise the queue would never learn that
callers do stay. It waits like any other job, and newest-first order leaves it for last, so it costs almost nothing."""

_WAITED: Final = 0.01  # seconds; a job that has waited for less is not evidence of its caller's patience
_MOST_WAITING: Final = 256  # the number of waiting jobs considered, the oldest ones: a bound for work that is O(n)


class Discipline(FifoQueue):
    """The base of all disciplines. Its own order is the order of arrival.

    While at most one job waits, which is nearly always, the job is in no level and nothing is decided.
    """

    __slots__ = (
        "_chosen",
        "_drain",
        "_executions",
        "_from",
        "_is_aged",
        "_levels",
        "_lone",
        "_patience",
        "_returned",
    )

    sheds = True
    order: ClassVar[Order] = OLDEST
    heeds_patience: ClassVar[bool] = False
    quantile: ClassVar[float] = 0.25
    """The quantile of the execution times that is expected. A higher one refuses too many jobs by mistake when
    execution times vary."""

    def __init__(self) -> None:
        super().__init__()
        self._levels = [Level(self.order) for _ in PRIORITIES]
        self._patience = [Patience() for _ in PRIORITIES]
        self._executions = Executions(self.quantile)
        self._drain = DrainRate()
        self._returned: OrderedDict[int, Job] = OrderedDict()  # jobs put back, which go before all others
        self._lone: Job | None = None  # the only job, while it is in no level
        # The decision of ``head``, discarded with every change of the queue.
        self._chosen: Job | None = None
        self._from: Level | None = None  # None if the job is one of those put back
        self._is_aged = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.jobs)} jobs>"

    # ---- in and out

    def push(self, job: Job, _now: float, /) -> None:
        """Add a job that has just arrived."""
        self.jobs[job.sequence] = job
        self.size_bytes += job.size_bytes
        if len(self.jobs) == 1:
            self._lone = job
            return
        self._sort_lone()
        self._chosen = None
        self._levels[job.priority].push(job)

    def push_front(self, job: Job, _now: float, /) -> None:
        """Put back a job that had been taken: it goes before all others."""
        self._sort_lone()
        self._chosen = None
        # A job that is taken is seldom the one that waited longest. Its position among older jobs is not restored.
        for jobs in (self.jobs, self._returned):
            jobs[job.sequence] = job
            jobs.move_to_end(job.sequence, last=False)
        self.size_bytes += job.size_bytes

    def head(self, now: float, /) -> Job:
        """Return the job whose turn it is. The queue must not be empty."""
        return self._lone or self._chosen or self._choose(now)

    def pop(self, now: float, /) -> Job:
        """Remove and return the job whose turn it is. The queue must not be empty."""
        job = self._lone
        if job is not None:
            self._lone = None
            self.jobs.popitem()
            self.size_bytes = 0
        else:
            job = self._chosen or self._choose(now)
            del self.jobs[job.sequence]
            self.size_bytes -= job.size_bytes
            self._take(job)
            self._drain.took(now, len(self.jobs))
        if self.heeds_patience and now - job.arrived > _WAITED:
            self._observe_wait(job, now - job.arrived, now, hung_up=False)
        return job

    def remove(self, job: Job, why: str, now: float, /) -> None:
        """Remove a job from anywhere in the queue."""
        self._sort_lone()
        self._chosen = None
        del self.jobs[job.sequence]
        self.size_bytes -= job.size_bytes
        if self._returned.pop(job.sequence, None) is None:
            self._levels[job.priority].remove(job)
        if not self.jobs:
            self._drain.emptied()
        if self.heeds_patience:
            self._learn_loss(job, why, now)

    def _sort_lone(self) -> None:
        lone = self._lone
        if lone is not None:
            self._lone = None
            self._levels[lone.priority].push(lone)

    def _take(self, job: Job) -> None:
        level = self._from
        self._chosen = None
        if level is None:
            del self._returned[job.sequence]
            return
        level.pop(job)
        level.owed = 0
        for other in reversed(self._levels):
            if other is level:
                break
            other.owed += bool(other.jobs)

    # ---- choosing the next job

    def _choose(self, now: float) -> Job:
        if self._returned:
            self._from = None
            self._chosen = next(iter(self._returned.values()))
            return self._chosen
        self._from = level = self._next_level()
        if self._is_aged:
            self._chosen = next(iter(level.jobs.values()))
        else:
            self._set_order(level, now)
            self._chosen = level.first()
        return self._chosen

    def _next_level(self) -> Level:
        """Return the most urgent level with jobs, or a less urgent one that is owed a turn for its oldest job."""
        interactive, normal, batch = self._levels
        self._is_aged = True
        if batch.owed >= AGEING and batch.jobs:
            return batch
        if normal.owed >= AGEING and normal.jobs:
            return normal
        self._is_aged = False
        return interactive if interactive.jobs else normal if normal.jobs else batch

    def _set_order(self, level: Level, now: float) -> None:
        """Set the order of the level's jobs for now. Most disciplines have only one order."""

    # ---- which jobs are refused or shed

    def refusal(self, job: Job | None, now: float, /) -> PenstockError | None:
        """Return an error if an arriving job would not be done in time; otherwise None."""
        if job is None:
            return None
        limits = job.timeouts
        total = limits.total
        if total is None and (not self.jobs or limits.queue is None):
            return None
        wait = self._expected_wait(job) if self.jobs else 0.0
        execution = self._expected_execution(job, now)
        if total is not None and wait + execution > total:
            alone = self._executions.expected_alone(now)
            return DeadlineInfeasible(
                f"{job.lane.name}: the job would take about {wait:.3g} s to start and {execution:.3g} s to run, "
                f"which is more than the {total:g} s it has left",
                retryable=alone <= total,  # otherwise it has too little time even if no other job waits
            )
        if limits.queue is not None and wait > limits.queue:
            return DeadlineInfeasible(
                f"{job.lane.name}: the job would take about {wait:.3g} s to start, and may wait for {limits.queue:g} s"
            )
        return None

    def give_up_at(self, job: Job, now: float, /) -> float:
        """Return the instant from which the job can no longer be done in time."""
        when = job.finish_by
        if when != NEVER:
            when -= self._expected_execution(job, now)
        if self.heeds_patience and job.sequence % SPARED:
            hopeless_from = self._patience[job.priority].hopeless_from
            if hopeless_from != NEVER:
                return min(when, job.arrived + self._longest_wait(job, hopeless_from, now))
        return when

    def _longest_wait(self, _job: Job, hopeless_from: float, _now: float, /) -> float:
        """Return the seconds that a job may wait if its caller is expected to leave at that age or soon after."""
        return hopeless_from

    def retry_after(self, _now: float, /) -> float | None:
        """Return the seconds until the jobs waiting now would be done; None if that is unknown."""
        return len(self.jobs) * self._drain.gap or None

    def execution_seconds(self, now: float, /) -> float | None:
        """Return the seconds that a job is expected to run for if it runs alone; None if that is unknown."""
        return self._executions.expected_alone(now) or None

    def learn(self, jobs: int, seconds: float, now: float, /) -> None:
        """Update the expected execution time from an attempt that has ended."""
        self._executions.learn(jobs, seconds, now)

    def _expected_execution(self, job: Job, now: float) -> float:
        batching = job.lane.batching
        if batching is None:
            return self._executions.expected_alone(now)
        return self._executions.expected(max(1, min(batching.max_size, len(self.jobs))), now)

    def _expected_wait(self, job: Job) -> float:
        """Return the seconds until an arriving job would start, from the rate at which jobs start."""
        self._sort_lone()
        more_urgent = sum([len(level.jobs) for level in self._levels[: job.priority]])
        level = self._levels[job.priority]
        return self._drain.gap * (len(self._returned) + more_urgent + self._ahead_in(level, job))

    def _ahead_in(self, level: Level, job: Job) -> int:
        """Return how many jobs of its own level go before it: all, or as many rounds as its share has jobs."""
        share = level.shares.get(job.share)
        rounds = 1 + (len(share.jobs) if share is not None else 0)
        return min(len(level.jobs), rounds * len(level.shares))

    # ---- how long callers wait

    def _observe_wait(self, job: Job, age: float, now: float, *, hung_up: bool) -> None:
        patience = self._patience[job.priority]
        if patience.observe_wait(age, hung_up=hung_up):
            waiting = islice(self._levels[job.priority].jobs.values(), _MOST_WAITING)
            patience.conclude(self._expected_execution(job, now), [now - other.arrived for other in waiting])

    def _learn_loss(self, job: Job, why: str, now: float) -> None:
        """Learn from a job that was removed. A deadline that can no longer be met counts like a caller that left."""
        age = now - job.arrived
        if why == "cancel":
            if age > _WAITED:  # a caller that leaves at once has not lost patience
                self._observe_wait(job, age, now, hung_up=True)
        elif why == "expire" or (why == "shed" and job.finish_by - self._expected_execution(job, now) <= now):
            self._observe_wait(job, min(job.start_by, job.finish_by) - job.arrived, now, hung_up=True)
        else:
            # It was shed because its caller was expected to leave, which does not prove that it would have left.
            self._observe_wait(job, age, now, hung_up=False)


class Fifo(Discipline):
    """First in, first out: the oldest job first."""

    __slots__ = ()


class Lifo(Discipline):
    """Last in, first out: the newest job first."""

    __slots__ = ()

    order = NEWEST

    def _ahead_in(self, level: Level, job: Job) -> int:
        """Return 0, or the number of other shares if its own has had its turn. Later arrivals are unknown."""
        return level.turns_before(job.share)


class EarliestDeadlineFirst(Discipline):
    """The earliest deadline first; jobs without a deadline last, the oldest of them first."""

    __slots__ = ("_latest",)

    order = EARLIEST

    def _ahead_in(self, level: Level, job: Job) -> int:
        """Return the position of its deadline, assuming that the other jobs' deadlines are evenly spaced."""
        most = super()._ahead_in(level, job)
        if not level.jobs:
            return 0
        total = job.timeouts.total
        finish_by = NEVER if total is None else job.arrived + total
        first, newest = level.first().finish_by, next(reversed(level.jobs.values())).finish_by
        if finish_by >= newest:
            return most
        return 0 if finish_by <= first else math.ceil(most * (finish_by - first) / (newest - first))


class CoDel(Discipline):
    """The oldest job first; while a queue stands, its head is shed at an increasing rate (RFC 8289, in terms of jobs).

    The target is the longest wait acceptable in a standing queue: 5 % of the interval, and never less than one
    execution, as the RFC says of one packet. For lack of a round-trip time, the interval follows a caller's patience.
    """

    __slots__ = ("_above_since", "_count", "_is_dropping", "_next_drop")

    TARGET: ClassVar[float] = 0.005

    def __init__(self) -> None:
        super().__init__()
        self._above_since = NEVER  # from this instant, the wait has been too long for a whole interval
        self._is_dropping = False
        self._next_drop = 0.0
        self._count = 0

    def give_up_at(self, job: Job, now: float, /) -> float:
        """Return ``now`` if the job is the head and due to be shed; otherwise the instant of every discipline."""
        when = super().give_up_at(job, now)
        if job.arrived + self._target(now) > now or now < self._above_since or job is not self.head(now):
            return when
        return when if self._is_dropping and now < self._next_drop else min(when, now)

    def pop(self, now: float, /) -> Job:
        """Remove and return the job whose turn it is. The queue must not be empty."""
        job = super().pop(now)
        target = self._target(now)
        if not self.jobs or now - job.arrived < target:
            self._above_since = NEVER
            self._is_dropping = False
        elif self._above_since == NEVER:
            self._above_since = now + 20 * target
        return job

    def remove(self, job: Job, why: str, now: float, /) -> None:
        """Remove a job from anywhere in the queue."""
        super().remove(job, why, now)
        if why != "shed" or now < self._above_since or job.arrived + self._target(now) > now:
            return
        interval = 20 * self._target(now)
        if not self._is_dropping:
            self._count = self._count - 2 if self._count > 2 and now - self._next_drop < 16 * interval else 1
            self._next_drop = now
            self._is_dropping = True
        else:
            self._count += 1
        self._next_drop += interval / math.sqrt(self._count)

    def _target(self, now: float) -> float:
        return max(self.TARGET, self._executions.expected_alone(now))


class Adaptive(Discipline):
    """The oldest job first, or the newest first in a standing queue. Jobs whose callers are about to leave are shed.

    The idea is Facebook's adaptive LIFO (Ben Maurer, "Fail at Scale", ACM Queue 13(8), 2015): in an overload some
    callers must lose, and the newest are the ones certain to be still there. Facebook's version switches when the queue
    has not been empty for a while. Here the queue counts as standing once oldest-first order would make a caller wait
    longer than callers have been observed to wait. It stops counting as standing below a quarter of that, which is half
    of the age at which jobs are shed, so that shedding alone does not end it. The switch thus needs no tuning: where
    callers are patient, each wait that they endure moves it further away.
    """

    __slots__ = ()

    heeds_patience = True

    UNNOTICED: ClassVar[float] = 0.25
    """The seconds that a caller is expected to wait until there is evidence: half of the time that answers in the study
    may take, so that jobs admitted before the first caller hangs up are also in time."""

    PATIENT: ClassVar[float] = 3.0
    """If no caller has ever hung up, and the oldest job has waited for this many times the time it takes to serve all
    jobs, callers are assumed to wait indefinitely. A fixed number of connections that send their next request after the
    last answer behave that way. With newest-first order, some of them would never be served."""

    KEPT: ClassVar[int] = 4
    """The number of executions for which a standing queue must hold work."""

    def _set_order(self, level: Level, now: float) -> None:
        place = self._levels.index(level)
        patience = self._patience[place]
        waited = now - next(iter(level.jobs.values())).arrived
        backlog = self._drain.gap * sum([len(other.jobs) for other in self._levels[: place + 1]])
        needed = max(waited, backlog) + self._executions.expected_alone(now)
        if patience.hangs_up:
            endured = patience.endured
        else:
            endured = max(self.UNNOTICED, patience.endured)
            if waited > self.PATIENT * backlog:
                endured = NEVER
        if level.order is OLDEST:
            if needed > endured:
                level.reorder(NEWEST)
        elif needed < endured / 4:
            level.reorder(OLDEST)

    def _longest_wait(self, job: Job, hopeless_from: float, now: float, /) -> float:
        """Return half of ``hopeless_from`` while the queue holds more than can be served in a sixth of it.

        Newest-first order then hardly ever returns to jobs that have waited that long. They are refused early, while
        their callers can still turn elsewhere. A few jobs are kept so that the worker does not run out of work.
        """
        level = self._levels[job.priority]
        if level.order is OLDEST or self._drain.gap * len(level.jobs) < hopeless_from / 6:
            return hopeless_from
        return max(hopeless_from / 2, min(hopeless_from, self.KEPT * self._expected_execution(job, now)))

    def _ahead_in(self, level: Level, job: Job) -> int:
        """Return the number of jobs that go before it; in newest-first order, it counts as the first of its share."""
        return super()._ahead_in(level, job) if level.order is OLDEST else level.turns_before(job.share)
