"""The attempts of jobs whose requests are sampled, kept for observers until the job is answered.

Jobs that are not sampled leave nothing here. Nor does anything, if no plug-in traces requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penstock.errors import PenstockError, WorkerLost
from penstock.hooks import records
from penstock.hooks.submission import Submission
from penstock.scheduler import Attempt, Job, reports
from penstock.scheduler.states import SENT
from penstock.wire import NO_TRACE, Trace


class OpenAttempt:
    """An attempt of a sampled job that has been sent to a worker. It need not have begun."""

    __slots__ = ("attempt", "code", "ended", "number", "retry_delay")

    def __init__(self, attempt: Attempt, number: int) -> None:
        self.attempt = attempt
        self.number = number
        self.ended: float | None = None  # None for the present attempt, and for one that a worker has not begun
        self.code = ""
        self.retry_delay: float | None = None

    def end(self, now: float, code: str) -> None:
        """Note the end, for this job, of an attempt that had begun. The first note of the instant counts."""
        if self.ended is None:
            self.ended = now
        self.code = code


class JobTraces:
    """The sampled jobs of one engine that have been sent to a worker and are not answered.

    Parameters
    ----------
    time:
        The engine's clock.
    submission_of:
        Returns the submission that a job was made from.
    on_job, on_batch:
        The observers of ``JobTraced`` and ``BatchTraced``, if there are any.
    """

    def __init__(
        self,
        time: Callable[[], float],
        submission_of: Callable[[Any], Submission],
        on_job: Callable[[records.JobTraced], None] | None,
        on_batch: Callable[[records.BatchTraced], None] | None,
    ) -> None:
        self._time = time
        self._submission_of = submission_of
        self._on_job = on_job
        self._on_batch = on_batch
        self._open: dict[Job, list[OpenAttempt]] = {}

    # ---- on the way to the worker

    def sent(self, attempt: Attempt) -> tuple[Trace, list[str]]:
        """Note an attempt; return the place of what its handler does, and the trace ids of the jobs of a batch."""
        jobs = attempt.jobs
        if attempt.lane.batching is not None:
            return self._sent_batch(attempt, jobs)
        job = jobs[0]
        trace = self._submission_of(job).trace
        if trace is None:
            return NO_TRACE, []
        if not trace.is_sampled:
            return trace, []
        return trace.of_attempt(self._note(attempt, job)), []

    def _sent_batch(self, attempt: Attempt, jobs: Sequence[Job]) -> tuple[Trace, list[str]]:
        traces = [self._submission_of(job).trace for job in jobs]
        for job, trace in zip(jobs, traces, strict=True):
            if trace is not None and trace.is_sampled:
                self._note(attempt, job)
        return self._batch_of(attempt) or NO_TRACE, ["" if trace is None else trace.trace_id for trace in traces]

    def _note(self, attempt: Attempt, job: Job) -> int:
        number = job.attempts + (attempt.state is SENT)  # a job that was sent ahead is counted when its turn comes
        self._open.setdefault(job, []).append(OpenAttempt(attempt, number))
        return number

    def _batch_of(self, attempt: Attempt) -> Trace | None:
        """Return the place of a batch in a trace of its own: that follows from its first job that is sampled."""
        if attempt.lane.batching is None:
            return None
        for job in attempt.jobs:
            trace = self._submission_of(job).trace
            if trace is not None and trace.is_sampled:
                return trace.of_batch(attempt.id)
        return None

    # ---- ends

    def retried(self, report: reports.RetryReport) -> None:
        """Note that an attempt has failed, and that its job is tried again."""
        now = self._time()
        for attempt in reversed(self._open.get(report.job, ())):
            if attempt.number == report.attempt:
                attempt.end(now, report.error.code)
                attempt.retry_delay = report.delay
                return

    def lost(self, attempts: Sequence[Attempt]) -> None:
        """Note that the worker of these attempts, which had begun, is gone."""
        now = self._time()
        for attempt in attempts:
            for job in attempt.jobs:
                for noted in self._open.get(job, ()):
                    if noted.attempt is attempt:
                        noted.end(now, WorkerLost.code)

    def batch_ended(self, attempt: Attempt, useful: int, seconds: float) -> None:
        """Notify the observer that a batch has ended."""
        trace = self._batch_of(attempt)
        if trace is None or self._on_batch is None:
            return
        self._on_batch(
            records.BatchTraced(
                endpoint=attempt.lane.name,
                worker=attempt.worker.place.name,
                trace=trace,
                attempt_id=attempt.id,
                started=attempt.started,
                ended=self._time(),
                jobs=len(attempt.jobs),
                useful=useful,
                seconds=seconds,
                members=[place for job in attempt.jobs if (place := self._place_of(job, attempt)) is not None],
            )
        )

    def _place_of(self, job: Job, attempt: Attempt) -> Trace | None:
        trace = self._submission_of(job).trace
        if trace is None or not trace.is_sampled:
            return None
        # A job that has lost its worker may have begun again by now; one that is answered is not.
        numbers = [noted.number for noted in self._open.get(job, ()) if noted.attempt is attempt]
        return trace.of_attempt(numbers[-1] if numbers else job.attempts)

    def answered(self, job: Job) -> None:
        """Notify the observer of a job that has its outcome."""
        submission = self._submission_of(job)
        trace = submission.trace
        if trace is None or not trace.is_sampled:
            return
        noted = self._open.pop(job, [])
        if self._on_job is None:
            return
        outcome = job.outcome
        code = outcome.code if isinstance(outcome, PenstockError) else "ok"
        if noted and noted[-1].ended is None and noted[-1].number == job.attempts:
            noted[-1].end(job.answered, code)
        self._on_job(
            records.JobTraced(
                endpoint=job.lane.name,
                request_id=submission.request_id,
                trace=trace,
                code=code,
                arrived=job.arrived,
                answered=job.answered,
                attempts=[self._described(attempt) for attempt in noted if attempt.ended is not None],
                first_chunk=job.first_chunk_at or None,
                chunks=job.chunks,
                queue_seconds=job.queue_seconds or 0.0,
                execution_seconds=job.execution_seconds,
            )
        )

    def _described(self, noted: OpenAttempt) -> records.TracedAttempt:
        attempt = noted.attempt
        assert noted.ended is not None, "only ended ones are described"
        return records.TracedAttempt(
            number=noted.number,
            worker=attempt.worker.place.name,
            attempt_id=attempt.id,
            started=min(attempt.started, noted.ended),
            ended=noted.ended,
            code=noted.code,
            retry_delay=noted.retry_delay,
            batch=self._batch_of(attempt),
        )
