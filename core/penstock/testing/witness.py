"""What an outsider can know of a job, to judge the scheduler by."""

from __future__ import annotations

import math

from penstock.scheduler import Attempt, Job
from penstock.scheduler.retrying import MOST_ATTEMPTS, POISON_DEATHS
from penstock.testing.fake_worker import Behaviour, FakeWorker


class Witness:
    """Stands beside one job, and never reads what the scheduler has written down, only what went in and came out."""

    __slots__ = (
        "answers",
        "arrived",
        "attempt",
        "attempts",
        "behaviour",
        "chunks",
        "deaths",
        "hung_up",
        "inside",
        "job",
        "limit",
        "limits",
        "number",
        "progressed",
        "since",
        "standing",
        "untaken",
        "worker",
    )

    def __init__(self, number: int, job: Job, behaviour: Behaviour, now: float) -> None:
        self.number = number
        self.job = job
        self.behaviour = behaviour
        self.arrived = now
        self.attempt: int | None = None  # None while it is queued
        self.worker: int | None = None
        self.standing: int | None = None  # the attempt in which it stands in a worker's line, still queued
        self.since = now  # it is queued, or runs
        self.attempts = 0
        self.deaths = 0  # workers that died of it, as far as anybody can tell
        self.hung_up = False
        self.chunks = 0
        self.untaken = 0
        self.progressed = now
        self.answers = 0
        self.inside: tuple[FakeWorker, Attempt] | None = None  # where the user's code was last seen to begin it
        self.limits: dict[str, float] = {}
        self.limit = math.inf  # the first of them
        self._look()

    def __repr__(self) -> str:
        where = f"in attempt {self.attempt} since {self.since:g}"
        return f"job {self.number}, arrived {self.arrived:g}, {where} ({self.job!r})"

    @property
    def is_spoilt(self) -> bool:
        """Whether it must not run once more."""
        lane = self.job.lane
        tries = min(lane.retries.max_attempts, POISON_DEATHS)
        return not lane.idempotent or self.chunks > 0 or self.deaths >= tries or self.attempts >= MOST_ATTEMPTS

    @property
    def may_stand_in_line(self) -> bool:
        """Whether it may be sent ahead: not if it must never run twice, or may be what kills workers."""
        lane = self.job.lane
        return lane.idempotent and not lane.is_stream and lane.batching is None and not self.deaths

    def is_over(self, names: tuple[str, ...], now: float) -> bool:
        """Whether one of these limits has been reached."""
        return any(self.limits.get(name, math.inf) <= now for name in names)

    def begin(self, attempt: int, worker: int, now: float) -> None:
        """It runs from now on."""
        self.standing = None
        self.attempts += 1
        self.attempt = attempt
        self.worker = worker
        self.since = self.progressed = now
        self._look()

    def lose(self, now: float, *, is_guilty: bool) -> None:
        """Its worker has gone: it waits again, unless it is answered."""
        self.deaths += is_guilty
        self.attempt = self.worker = None
        self.since = self.progressed = now
        self._look()

    def come_back(self, now: float) -> None:
        """The worker has not begun it after all: it waits again, and nothing has happened."""
        self.attempts -= 1
        self.lose(now, is_guilty=False)

    def see_chunk(self, now: float) -> None:
        """A chunk has arrived."""
        if not self.untaken:
            self.progressed = now
        self.chunks += 1
        self.untaken += 1
        self._look()

    def see_taken(self, count: int, now: float) -> None:
        """The caller has taken so many of the chunks that there were."""
        if count:
            self.untaken -= count
            self.progressed = now
            self._look()

    def _look(self) -> None:
        """Work out the instants at which it must be stopped, from the definition of the time-outs alone."""
        timeouts = self.job.timeouts
        limits = [("total", self.arrived, timeouts.total)]
        if self.attempt is None:
            limits.append(("queue", self.since, timeouts.queue))
        else:
            limits.append(("execution", self.since, timeouts.execution))
            if self.untaken:
                limits.append(("unread", self.progressed, timeouts.idle))
            elif self.chunks:
                limits.append(("idle", self.progressed, timeouts.idle))
            elif self.job.lane.is_stream:
                limits.append(("first_chunk", self.since, timeouts.first_chunk))
        self.limits = {name: start + seconds for name, start, seconds in limits if seconds is not None}
        self.limit = min(self.limits.values(), default=math.inf)
