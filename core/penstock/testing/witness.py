"""Witnesses: an outside observer's knowledge of a job, by which the simulation judges the scheduler."""

from __future__ import annotations

import math

from penstock.errors import HandlerError, PenstockError, WorkerLost
from penstock.scheduler import Attempt, Job
from penstock.scheduler.retries import MOST_ATTEMPTS, POISON_DEATHS
from penstock.testing.fake_worker import Behaviour, FakeWorker


class Witness:
    """An observer of one job, who never reads the scheduler's records, only its input and its output."""

    __slots__ = (
        "answers",
        "arrived",
        "attempt",
        "attempts",
        "behaviour",
        "chunks",
        "deaths",
        "failed_with",
        "failures",
        "has_head",
        "hung_up",
        "inside",
        "job",
        "limit",
        "limits",
        "not_before",
        "number",
        "progressed",
        "question",
        "refused",
        "sent_ahead",
        "since",
        "untaken",
        "was_spoilt",
        "worker",
    )

    def __init__(self, number: int, job: Job, behaviour: Behaviour, now: float) -> None:
        self.number = number
        self.job = job
        self.behaviour = behaviour
        self.arrived = now
        self.attempt: int | None = None  # None while it is queued
        self.worker: int | None = None
        self.sent_ahead: int | None = None  # the attempt that waits for it in a worker's line; it counts as queued
        self.since = now  # the start of its wait in the queue, or of its attempt
        self.attempts = 0
        self.deaths = 0  # workers that died while running it, as far as an observer can tell
        self.failures = 0  # attempts that ended with an error about which the policy was asked
        self.failed_with: HandlerError | None = None  # the latest of these errors, while it waits for its next attempt
        self.not_before: float | None = None  # while it backs off: when it may be queued again
        self.question = False  # True if its policy must still be asked whether it may run again
        self.refused = False  # True if the policy has refused another attempt
        self.was_spoilt = False  # `is_spoilt` at the moment when its worker was lost
        self.hung_up = False
        self.has_head = False  # True once its attempt answers with a stream
        self.chunks = 0
        self.untaken = 0
        self.progressed = now
        self.answers = 0
        self.inside: tuple[FakeWorker, Attempt] | None = None  # where the user's code last began it
        self.limits: dict[str, float] = {}
        self.limit = math.inf  # the earliest of them
        self._look()

    def __repr__(self) -> str:
        where = f"in attempt {self.attempt} since {self.since:g}, not before {self.not_before}"
        return f"job {self.number}, arrived {self.arrived:g}, {where} ({self.job!r})"

    @property
    def is_spoilt(self) -> bool:
        """True if the job must not run again."""
        lane = self.job.lane
        return (
            not lane.idempotent
            or self.chunks > 0
            or self.deaths >= POISON_DEATHS
            or self.deaths + self.failures >= lane.retries.max_attempts
            or self.attempts >= MOST_ATTEMPTS
        )

    def may_ask(self, error: PenstockError) -> bool:
        """Return whether the policy may be asked about this error. If not, the job must not run again."""
        if isinstance(error, WorkerLost):
            return self.question and not self.chunks and self.job.lane.idempotent and self.deaths < POISON_DEATHS
        is_safe = self.job.lane.idempotent or (isinstance(error, HandlerError) and error.may_retry)
        return is_safe and not self.chunks and self.attempt is not None

    def spent(self, error: PenstockError) -> int:
        """Return the number of attempts charged to the job when its policy is asked: those it has itself failed."""
        return self.deaths + self.failures + isinstance(error, HandlerError)

    def hear(self, delay: float | None, error: PenstockError, now: float) -> None:
        """Record the policy's decision, which is final unless the job's deadline rules it out."""
        self.question = False
        self.failures += isinstance(error, HandlerError)
        total = self.job.timeouts.total
        if delay is None or (total is not None and now + delay >= self.arrived + total):
            self.refused = True
            return
        self.attempt = self.worker = None
        self.failed_with = error if isinstance(error, HandlerError) else None
        self.not_before = now + delay if delay else None
        self.since = self.progressed = now
        self._look()

    def wake(self, now: float) -> None:
        """Queue the job again if it has backed off long enough and has time left."""
        if self.not_before is not None and self.not_before <= now and not self.is_over(("total",), now):
            self.not_before = None
            self.since = now
            self._look()

    @property
    def is_waiting(self) -> bool:
        """True if the job is in its queue, and not sent ahead."""
        return self.attempt is None and self.sent_ahead is None and self.not_before is None

    @property
    def may_be_sent_ahead(self) -> bool:
        """True if the job may be sent ahead: if it may run twice, and is not suspected of killing workers."""
        lane = self.job.lane
        return lane.idempotent and not lane.is_stream and lane.batching is None and not self.deaths

    def is_over(self, names: tuple[str, ...], now: float) -> bool:
        """Return whether one of these limits has been reached."""
        return any(self.limits.get(name, math.inf) <= now for name in names)

    def begin(self, attempt: int, worker: int, now: float) -> None:
        """Record that an attempt of the job begins."""
        self.sent_ahead = None
        self.has_head = False
        self.refused = False
        self.attempts += 1
        self.attempt = attempt
        self.worker = worker
        self.since = self.progressed = now
        self._look()

    def lose(self, now: float, *, is_guilty: bool) -> None:
        """Record that the job has lost its worker: it waits again, unless it is answered."""
        self.deaths += is_guilty
        self.was_spoilt = self.is_spoilt
        self.question = is_guilty
        self.failed_with = None
        self.attempt = self.worker = None
        self.since = self.progressed = now
        self._look()

    def come_back(self, now: float) -> None:
        """Record that the worker had not begun the job after all: it waits again, uncharged."""
        self.attempts -= 1
        failed_with = self.failed_with
        self.lose(now, is_guilty=False)
        self.failed_with = failed_with

    def see_head(self) -> None:
        """Record that the answer is a stream."""
        self.has_head = True
        self._look()

    def see_chunk(self, now: float) -> None:
        """Record that a chunk has arrived."""
        if not self.untaken:
            self.progressed = now
        self.chunks += 1
        self.untaken += 1
        self._look()

    def see_taken(self, count: int, now: float) -> None:
        """Record that the caller has taken ``count`` of the chunks that had arrived."""
        if count:
            self.untaken -= count
            self.progressed = now
            self._look()

    def _look(self) -> None:
        """Compute the instants at which the job must be stopped, from the definition of the timeouts alone."""
        timeouts = self.job.timeouts
        limits = [("total", self.arrived, timeouts.total)]
        if self.not_before is not None:
            limits.append(("back-off", self.not_before, 0.0))
        elif self.attempt is None:
            limits.append(("queue", self.since, timeouts.queue))
        else:
            limits.append(("execution", self.since, timeouts.execution))
            if self.untaken:
                limits.append(("unread", self.progressed, timeouts.idle))
            elif self.chunks:
                limits.append(("idle", self.progressed, timeouts.idle))
            elif self.has_head or self.job.lane.is_stream:
                limits.append(("first_chunk", self.since, timeouts.first_chunk))
        self.limits = {name: start + seconds for name, start, seconds in limits if seconds is not None}
        self.limit = min(self.limits.values(), default=math.inf)


class WitnessedJob(Job):
    """A job of the simulation, which carries its witness."""

    __slots__ = ("witness",)

    witness: Witness


def witness_of(job: Job) -> Witness:
    """Return the witness of a job of the simulation."""
    assert type(job) is WitnessedJob
    return job.witness
