"""A wrapper around a third-party queue, so that each of its mistakes costs one job at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from penstock.errors import HookError, PenstockError
from penstock.scheduler.jobs import Job
from penstock.scheduler.queues import FifoQueue, Queue
from penstock.scheduler.timers import NEVER

_MOST_STRAYS: Final = 1000


class GuardedQueue(FifoQueue):
    """A queue that keeps its own record of the jobs in another queue, so that no job is ever lost in it.

    The job that fails for a mistake is marked: from then on it is the head, and its time is over. So the scheduler
    takes it next, and answers it with the error that ``failure_of`` returns.

    Parameters
    ----------
    inner:
        The third-party queue, which decides.
    fail:
        Called with each exception that ``inner`` raises; returns the error for the marked job. For a
        ``KeyboardInterrupt``, which is not the queue's own, it raises that again.
    """

    __slots__ = ("_fail", "_inner", "_marked", "_strays")

    sheds: ClassVar[bool] = True
    sees_all: ClassVar[bool] = True

    def __init__(self, inner: Queue, fail: Callable[[BaseException], HookError]) -> None:
        super().__init__()
        self._inner = inner
        self._fail = fail
        self._marked: dict[int, HookError] = {}  # the errors of marked jobs, by sequence
        self._strays: set[int] = set()  # jobs that have left, and that the inner queue may still hold

    def __repr__(self) -> str:
        return f"<GuardedQueue around {type(self._inner).__name__}: {len(self.jobs)} jobs>"

    def failure_of(self, job: Job) -> HookError | None:
        """Return the error of a marked job, or None."""
        return self._marked.get(job.sequence)

    # ---- in and out

    def push(self, job: Job, now: float, /) -> None:
        """Add a job that has just arrived, and mark it if the inner queue raises."""
        super().push(job, now)
        try:
            self._inner.push(job, now)
        except BaseException as error:
            self._marked[job.sequence] = self._fail(error)

    def push_front(self, job: Job, now: float, /) -> None:
        """Put back a job that had been removed, and mark it if the inner queue raises."""
        super().push_front(job, now)
        try:
            self._inner.push_front(job, now)
        except BaseException as error:
            self._marked[job.sequence] = self._fail(error)

    def head(self, now: float, /) -> Job:
        """Return the job whose turn it is according to the inner queue; if that raises, mark the oldest."""
        if not self._marked:
            try:
                return self._inner_head(now)
            except BaseException as error:
                self._marked[next(iter(self.jobs))] = self._fail(error)
        return self.jobs[next(iter(self._marked))]

    def _inner_head(self, now: float) -> Job:
        while True:
            job = self._inner.head(now)
            if self._holds(job):
                return job
            popped = self._inner.pop(now)
            if self._holds(popped):
                self._inner.push_front(popped, now)
            if job.sequence not in self._strays:
                raise LookupError(f"head() returned {job!r}, which is not in the queue")
            self._strays.discard(job.sequence)  # so this loop ends, whether the inner queue has removed the job or not

    def _holds(self, job: Job) -> bool:
        return self.jobs.get(job.sequence) is job

    def pop(self, now: float, /) -> Job:
        """Remove and return the job that ``head`` returns.

        Raises
        ------
        HookError
            If the inner queue does not remove it; the job is then still in this queue, and marked.
        """
        job = self.head(now)
        if job.sequence in self._marked:
            raise self._marked[job.sequence]
        try:
            popped = self._inner.pop(now)
            if popped is not job:
                if self._holds(popped):
                    self._inner.push_front(popped, now)
                raise LookupError(f"pop() returned {popped!r}, but head() had returned {job!r}")
        except BaseException as error:
            self._marked[job.sequence] = self._fail(error)
            raise self._marked[job.sequence] from error
        super().remove(job, "", now)
        return job

    def remove(self, job: Job, why: str, now: float, /) -> None:
        """Remove a job from anywhere in the queue."""
        super().remove(job, why, now)
        is_marked = self._marked.pop(job.sequence, None) is not None
        try:
            self._inner.remove(job, why, now)
        except BaseException as error:
            if len(self._strays) < _MOST_STRAYS:
                self._strays.add(job.sequence)
            if not is_marked:  # otherwise it was reported before, and the inner queue may never have had the job
                self._fail(error)

    # ---- decisions

    def refusal(self, job: Job | None, now: float, /) -> PenstockError | None:
        """Return what the inner queue returns; a mistake refuses the job."""
        try:
            refusal = self._inner.refusal(job, now)
            if refusal is not None and not isinstance(refusal, PenstockError):
                raise TypeError(f"refusal() returned {refusal!r}, which is not a PenstockError")
        except PenstockError as error:
            return error
        except BaseException as error:
            return self._fail(error)
        return refusal

    def give_up_at(self, job: Job, now: float, /) -> float:
        """Return what the inner queue returns; ``NEVER`` after a mistake, and the past for a marked job."""
        if job.sequence in self._marked:
            return -NEVER
        try:
            when = float(self._inner.give_up_at(job, now)) if self._inner.sheds else NEVER
            if when != when:  # noqa: PLR0124 - the one number that differs from itself
                raise ValueError("give_up_at() returned NaN")
        except BaseException as error:
            self._fail(error)
            return NEVER
        return when

    def retry_after(self, now: float, /) -> float | None:
        """Return what the inner queue returns; None after a mistake."""
        return self._seconds("retry_after", now)

    def execution_seconds(self, now: float, /) -> float | None:
        """Return what the inner queue returns; None after a mistake."""
        return self._seconds("execution_seconds", now)

    def _seconds(self, method: str, now: float) -> float | None:
        try:
            seconds = getattr(self._inner, method)(now) if self._inner.sheds else None
            return None if seconds is None else float(seconds)
        except BaseException as error:
            self._fail(error)
            return None

    def learn(self, jobs: int, seconds: float, now: float, /) -> None:
        """Pass the lesson on to the inner queue; a mistake has no effect."""
        try:
            self._inner.learn(jobs, seconds, now)
        except BaseException as error:
            self._fail(error)
