"""Queues for the simulation: one that decides at random, and one that also makes mistakes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar, Final

from penstock.errors import DeadlineInfeasible, PenstockError, QueueFull
from penstock.scheduler import FifoQueue, Job
from penstock.scheduler.timers import NEVER

_REFUSALS: Final[tuple[Callable[[str], PenstockError], ...]] = (QueueFull, DeadlineInfeasible)


class WhimsicalQueue(FifoQueue):
    """A queue that decides by dice which job is next, which is refused, and when one is given up.

    Parameters
    ----------
    seed:
        The seed of the dice.

    Attributes
    ----------
    said:
        Its latest answer to ``give_up_at`` for each job that it holds, by the job's sequence.
    asked:
        The latest instant of that question since the job was pushed, by the job's sequence.
    given_up:
        The sequences of the jobs that it has said are to be given up at once.
    lessons:
        The number of calls of ``learn``.
    popped:
        The job that it popped last.
    """

    sheds: ClassVar[bool] = True
    sees_all: ClassVar[bool] = True

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.said: dict[int, float] = {}
        self.asked: dict[int, float] = {}
        self.given_up: set[int] = set()
        self.lessons = 0
        self.popped: Job | None = None
        self._dice = random.Random(seed)  # noqa: S311 - dice, not a secret
        self._turn: Job | None = None
        self._refuses = self._dice.choice((0.0, 0.1))
        self._gives_up = self._dice.choice((0.0, 0.1, 0.5))

    def push(self, job: Job, now: float, /) -> None:
        """Add a job, which may become the head at once."""
        self.asked.pop(job.sequence, None)
        super().push(job, now)
        if self._dice.random() < 0.5:
            self._turn = None

    def push_front(self, job: Job, now: float, /) -> None:
        """Put a job back."""
        self.asked.pop(job.sequence, None)
        super().push_front(job, now)

    def head(self, _now: float, /) -> Job:
        """Return any job, and the same one until the queue changes."""
        if self._turn is None:
            self._turn = self._dice.choice(list(self.jobs.values()))
        return self._turn

    def pop(self, now: float, /) -> Job:
        """Remove and return the head."""
        job = self.popped = self.head(now)
        self.remove(job, "", now)
        return job

    def remove(self, job: Job, why: str, now: float, /) -> None:
        """Forget the job."""
        super().remove(job, why, now)
        self.said.pop(job.sequence, None)
        if self._turn is job:
            self._turn = None

    def refusal(self, _job: Job | None, _now: float, /) -> PenstockError | None:
        """Refuse a job for no reason, or admit it."""
        if self._dice.random() >= self._refuses:
            return None
        return self._dice.choice(_REFUSALS)("the dice have said so")

    def give_up_at(self, job: Job, now: float, /) -> float:
        """Return any instant, or never; another one each time."""
        self.asked[job.sequence] = now
        seconds = self._dice.choice((0.0, -1.0, self._dice.expovariate(50.0)))
        when = now + seconds if self._dice.random() < self._gives_up else NEVER
        self.said[job.sequence] = when
        if when <= now:
            self.given_up.add(job.sequence)
        return when

    def retry_after(self, _now: float, /) -> float | None:
        """Return any number of seconds, or None."""
        return self._dice.choice((None, 1.0, 2.5))

    def learn(self, _jobs: int, _seconds: float, _now: float, /) -> None:
        """Count the lesson."""
        self.lessons += 1


class ClumsyQueue(WhimsicalQueue):
    """A whimsical queue that raises now and then, before or after the operation, and sometimes returns nonsense.

    Parameters
    ----------
    seed:
        The seed of the dice.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._clumsiness = self._dice.choice((0.001, 0.01, 0.1))

    def _stumble(self) -> None:
        if self._dice.random() < self._clumsiness:
            raise RuntimeError("the queue has stumbled")

    def push(self, job: Job, now: float, /) -> None:
        """Add a job, or raise before or after that."""
        self._stumble()
        super().push(job, now)
        self._stumble()

    def push_front(self, job: Job, now: float, /) -> None:
        """Put a job back, or raise before or after that."""
        self._stumble()
        super().push_front(job, now)
        self._stumble()

    def head(self, now: float, /) -> Job:
        """Return any job, perhaps even one that has just left."""
        self._stumble()
        if self.popped is not None and self._dice.random() < self._clumsiness / 2:
            return self.popped
        return super().head(now)

    def pop(self, now: float, /) -> Job:
        """Remove and return the head, or another job."""
        self._stumble()
        if self._dice.random() < self._clumsiness / 2:
            self._turn = None
        job = super().pop(now)
        self._stumble()
        return job

    def remove(self, job: Job, why: str, now: float, /) -> None:
        """Forget the job, or raise before or after that."""
        self._stumble()
        super().remove(job, why, now)
        self._stumble()

    def refusal(self, job: Job | None, now: float, /) -> PenstockError | None:
        """Refuse a job, admit it, or return nonsense."""
        self._stumble()
        nonsense: Any = "no"
        return nonsense if self._dice.random() < self._clumsiness / 2 else super().refusal(job, now)

    def give_up_at(self, job: Job, now: float, /) -> float:
        """Return any instant, never, or nonsense."""
        self.asked[job.sequence] = now
        self.said.pop(job.sequence, None)
        self._stumble()
        return float("nan") if self._dice.random() < self._clumsiness / 2 else super().give_up_at(job, now)

    def retry_after(self, now: float, /) -> float | None:
        """Return any number of seconds or None, or raise."""
        self._stumble()
        return super().retry_after(now)

    def learn(self, jobs: int, seconds: float, now: float, /) -> None:
        """Count the lesson, and sometimes raise."""
        super().learn(jobs, seconds, now)
        self._stumble()
