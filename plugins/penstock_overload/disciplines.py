"""The queue disciplines: in what order jobs go, and which are refused or shed.

All of them have priorities with ageing, fair shares, and refuse or shed a job whose deadline cannot be met. They differ
in the order of one caller's jobs of one priority. Which one is the default was decided by simulation: see
docs/overload-study.md.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import islice
from typing import ClassVar, Final

from penstock.errors import DeadlineInfeasible
from penstock.hooks import PRIORITIES, FifoQueue, Job, PenstockError
from penstock_overload.estimates import Drain, Executions, Patience
from penstock_overload.levels import EARLIEST, NEWEST, OLDEST, Level, Order

NEVER: Final = math.inf

AGEING: Final = 16
"""A priority that waits is owed one turn for so many that more urgent ones had: 6 % of the work, and never none."""

SPARED: Final = 64
"""One job in so many is not shed for lack of its caller's patience, or one would never learn that callers do stay.
It waits like any other, and the newest first leaves it for last, so it costs next to nothing."""

_WAITED: Final = 0.01  # seconds; a job that has not even waited so long says nothing of its caller's patience
_MOST_ASKED: Final = 256  # of those that wait, the oldest: a bound, for what costs O(n)


class Discipline(FifoQueue):
    """What all have in common. Its own order is that of arrival.

    While one job waits at most, which is nearly always, it is in no level, and nothing is decided.
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
    """Of the executions, what is expected: too much is refused by mistake otherwise, where they are unequal."""

    def __init__(self) -> None:
        super().__init__()
        self._levels = [Level(self.order) for _ in PRIORITIES]
        self._patience = [Patience() for _ in PRIORITIES]
        self._executions = Executions(self.quantile)
        self._drain = Drain()
        self._returned: OrderedDict[int, Job] = OrderedDict()  # had been taken out, and go before all others
        self._lone: Job | None = None  # the only job, while it is in no level
        # What ``head`` has decided; forgotten with every change of the queue.
        self._chosen: Job | None = None
        self._from: Level | None = None  # None: from those that were put back
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
        """Put back a job that had been taken out: it goes before all others."""
        self._sort_lone()
        self._chosen = None
        # What is taken out is seldom what had waited longest, so its place among the older ones is not looked for.
        for jobs in (self.jobs, self._returned):
            jobs[job.sequence] = job
            jobs.move_to_end(job.sequence, last=False)
        self.size_bytes += job.size_bytes

    def head(self, now: float, /) -> Job:
        """The job whose turn it is. The queue must not be empty."""
        return self._lone or self._chosen or self._choose(now)

    def pop(self, now: float, /) -> Job:
        """Take out the job whose turn it is. The queue must not be empty."""
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
            self._saw(job, now - job.arrived, now, hung_up=False)
        return job

    def remove(self, job: Job, why: str, now: float, /) -> None:
        """Take out a job that is somewhere in the queue."""
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

    # ---- whose turn it is

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
        """The most urgent that has jobs, unless a less urgent one has waited for long enough: its oldest job goes."""
        interactive, normal, batch = self._levels
        self._is_aged = True
        if batch.owed >= AGEING and batch.jobs:
            return batch
        if normal.owed >= AGEING and normal.jobs:
            return normal
        self._is_aged = False
        return interactive if interactive.jobs else normal if normal.jobs else batch

    def _set_order(self, level: Level, now: float) -> None:
        """Decide in what order the level's jobs go now. Most disciplines have one only."""

    # ---- who is refused or shed

    def refusal(self, job: Job | None, now: float, /) -> PenstockError | None:
        """Why an arriving job is not let in: it would not be done in time."""
        if job is None:
            return None
        limits = job.timeouts
        total = limits.total
        if total is None and (not self.jobs or limits.queue is None):
            return None
        wait = self._expected_wait(job) if self.jobs else 0.0
        execution = self._expected_execution(job, now)
        if total is not None and wait + execution > total:
            return DeadlineInfeasible(
                f"{job.lane.name}: it would take about {wait:.3g} s to start and {execution:.3g} s to run, "
                f"which is more than the {total:g} s that it has"
            )
        if limits.queue is not None and wait > limits.queue:
            return DeadlineInfeasible(
                f"{job.lane.name}: it would take about {wait:.3g} s to start, and may wait for {limits.queue:g} s"
            )
        return None

    def give_up_at(self, job: Job, now: float, /) -> float:
        """The instant from which the job cannot be done in time any more."""
        when = job.finish_by
        if when != NEVER:
            when -= self._expected_execution(job, now)
        if self.heeds_patience and job.sequence % SPARED:
            hopeless_from = self._patience[job.priority].hopeless_from
            if hopeless_from != NEVER:
                return min(when, job.arrived + self._bears(job, hopeless_from, now))
        return when

    def _bears(self, _job: Job, hopeless_from: float, _now: float, /) -> float:
        """How long a job may wait whose caller will have left at that age, or soon after."""
        return hopeless_from

    def retry_after(self, _now: float, /) -> float | None:
        """Seconds until what waits now would be done; None where nothing is known of that."""
        return len(self.jobs) * self._drain.gap or None

    def learn(self, jobs: int, seconds: float, now: float, /) -> None:
        """An attempt has ended, and so one may know better how long they take."""
        self._executions.learn(jobs, seconds, now)

    def _expected_execution(self, job: Job, now: float) -> float:
        batching = job.lane.batching
        size = 1 if batching is None else max(1, min(batching.max_size, len(self.jobs)))
        return self._executions.expected(size, now)

    def _expected_wait(self, job: Job) -> float:
        """Seconds until an arriving job would start, by the rate at which jobs do start."""
        self._sort_lone()
        more_urgent = sum([len(level.jobs) for level in self._levels[: job.priority]])
        level = self._levels[job.priority]
        return self._drain.gap * (len(self._returned) + more_urgent + self._ahead_in(level, job))

    def _ahead_in(self, level: Level, job: Job) -> int:
        """How many of its own level go before it: all, or as many rounds as its share has jobs."""
        share = level.shares.get(job.share)
        rounds = 1 + (len(share.jobs) if share is not None else 0)
        return min(len(level.jobs), rounds * len(level.shares))

    # ---- how long callers wait

    def _saw(self, job: Job, age: float, now: float, *, hung_up: bool) -> None:
        patience = self._patience[job.priority]
        if patience.saw(age, hung_up=hung_up):
            waiting = islice(self._levels[job.priority].jobs.values(), _MOST_ASKED)
            patience.conclude(self._expected_execution(job, now), [now - other.arrived for other in waiting])

    def _learn_loss(self, job: Job, why: str, now: float) -> None:
        """A caller has gone, or a deadline that is as good as that has come too near."""
        age = now - job.arrived
        if why == "cancel":
            if age > _WAITED:  # who leaves at once has not lost patience
                self._saw(job, age, now, hung_up=True)
        elif why == "expire" or (why == "shed" and job.finish_by - self._expected_execution(job, now) <= now):
            self._saw(job, min(job.start_by, job.finish_by) - job.arrived, now, hung_up=True)
        else:
            self._saw(job, age, now, hung_up=False)  # it was shed for lack of patience, which proves none


class Fifo(Discipline):
    """The oldest first."""

    __slots__ = ()


class Lifo(Discipline):
    """The newest first."""

    __slots__ = ()

    order = NEWEST

    def _ahead_in(self, level: Level, job: Job) -> int:
        """None, but for other shares, if its own has had its turn. Who comes later is not known."""
        return level.turns_before(job.share)


class EarliestDeadlineFirst(Discipline):
    """The earliest deadline first; those without one last, the oldest first."""

    __slots__ = ("_latest",)

    order = EARLIEST

    def _ahead_in(self, level: Level, job: Job) -> int:
        """Where its deadline would be in a line, if the deadlines of the others were evenly spread."""
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
    """The oldest first, and while a queue stands its head is shed, ever faster (RFC 8289, in terms of jobs).

    The target is the longest that a queue may be for good: 5 % of the interval, and never less than one execution, as
    the RFC says of one packet. The interval is that of a caller's patience, for want of a round trip.
    """

    __slots__ = ("_above_since", "_count", "_is_dropping", "_next_drop")

    TARGET: ClassVar[float] = 0.005

    def __init__(self) -> None:
        super().__init__()
        self._above_since = NEVER  # from then on the wait has been too long for a whole interval
        self._is_dropping = False
        self._next_drop = 0.0
        self._count = 0

    def give_up_at(self, job: Job, now: float, /) -> float:
        """Now, if it is the head's turn to be shed; else as ever."""
        when = super().give_up_at(job, now)
        if job.arrived + self._target(now) > now or now < self._above_since or job is not self.head(now):
            return when
        return when if self._is_dropping and now < self._next_drop else min(when, now)

    def pop(self, now: float, /) -> Job:
        """Take out the job whose turn it is. The queue must not be empty."""
        job = super().pop(now)
        target = self._target(now)
        if not self.jobs or now - job.arrived < target:
            self._above_since = NEVER
            self._is_dropping = False
        elif self._above_since == NEVER:
            self._above_since = now + 20 * target
        return job

    def remove(self, job: Job, why: str, now: float, /) -> None:
        """Take out a job that is somewhere in the queue."""
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
        return max(self.TARGET, self._executions.expected(1, now))


class Adaptive(Discipline):
    """The oldest first; but when a queue stands, the newest first. Jobs whose callers are about to leave are shed.

    The idea is Facebook's adaptive LIFO (Ben Maurer, "Fail at Scale", ACM Queue 13(8), 2015): in an overload somebody
    has to lose, and the newest are those who will certainly still be there. Theirs switches when the queue has not been
    empty for a while. Here a queue stands when the oldest first would have somebody wait for longer than callers have
    been seen to endure, and no longer when a quarter of that would do: half of what is shed, so that the shedding does
    not end it. So the switch needs no tuning: where callers are patient, each wait that was endured moves it further
    away.
    """

    __slots__ = ()

    heeds_patience = True

    UNNOTICED: ClassVar[float] = 0.25
    """Seconds that a caller is expected to endure, until there is evidence: half of what the study's answers may take,
    so that those that were let in before the first caller has hung up are in time, too."""

    PATIENT: ClassVar[float] = 3.0
    """While nobody has ever hung up, and the oldest job has waited for so many times what it takes to serve all, the
    callers are taken to wait for their answers however long: such as a fixed number of connections that send their
    next request after the last answer. With the newest first, some of these would never be served."""

    KEPT: ClassVar[int] = 4
    """Executions for which there must be work in a queue that stands."""

    def _set_order(self, level: Level, now: float) -> None:
        place = self._levels.index(level)
        patience = self._patience[place]
        waited = now - next(iter(level.jobs.values())).arrived
        backlog = self._drain.gap * sum([len(other.jobs) for other in self._levels[: place + 1]])
        needed = max(waited, backlog) + self._executions.expected(1, now)
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

    def _bears(self, job: Job, hopeless_from: float, now: float, /) -> float:
        """While more stands in the queue than can be served in a sixth of that, half as long.

        The newest first hardly ever comes back then to what has waited for so long, so it may as well be told now, when
        its caller can still ask elsewhere. But a few jobs are kept, lest the worker runs dry.
        """
        level = self._levels[job.priority]
        if level.order is OLDEST or self._drain.gap * len(level.jobs) < hopeless_from / 6:
            return hopeless_from
        return max(hopeless_from / 2, min(hopeless_from, self.KEPT * self._expected_execution(job, now)))

    def _ahead_in(self, level: Level, job: Job) -> int:
        """As long as the oldest go first, those before it; then, as if it went first."""
        return super()._ahead_in(level, job) if level.order is OLDEST else level.turns_before(job.share)
