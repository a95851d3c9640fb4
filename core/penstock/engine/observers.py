"""Observers: the records that plug-ins observe, made from what happens in an engine. Unobserved ones are not made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from penstock.engine.job_traces import JobTraces
from penstock.errors import PenstockError
from penstock.hooks import records
from penstock.hooks.records import ShutdownRequest
from penstock.hooks.registry import Registry
from penstock.hooks.submission import Submission
from penstock.scheduler import Attempt, Job, Scheduler, reports
from penstock.scheduler.reports import AnyReport
from penstock.wire import Progress

Observe = Callable[[Any], None]


class Observers:
    """The observers of one engine.

    Parameters
    ----------
    registry:
        The plug-ins, which say what they observe.
    time:
        The engine's clock.
    submission_of:
        Returns the submission that a job was made from.

    Attributes
    ----------
    registry:
        The plug-ins.
    see_answers:
        True if any plug-in observes ``JobAnswered``.
    see_attempts:
        True if any plug-in observes ``AttemptEnded``, or batches are traced.
    see_progress:
        True if any plug-in observes ``JobProgressed``.
    traces:
        The jobs whose requests are sampled; None if requests are not traced.
    """

    def __init__(
        self, registry: Registry, time: Callable[[], float], submission_of: Callable[[Any], Submission]
    ) -> None:
        self.registry = registry
        self._time = time
        self._submission_of = submission_of
        self._on_answer = registry.observer_of(records.JobAnswered)
        self._on_attempt = registry.observer_of(records.AttemptEnded)
        self._on_progress = registry.observer_of(records.JobProgressed)
        self._on_counts = registry.observer_of(records.JobsCounted)
        self._on_drain_start = registry.observer_of(records.DrainStarted)
        self._on_drain_end = registry.observer_of(records.DrainEnded)
        self.see_answers = self._on_answer is not None
        self.see_progress = self._on_progress is not None
        self.traces: JobTraces | None = None
        if registry.traces_requests:
            self.traces = JobTraces(
                time, submission_of, registry.observer_of(records.JobTraced), registry.observer_of(records.BatchTraced)
            )
        self.see_attempts = self._on_attempt is not None or registry.observer_of(records.BatchTraced) is not None
        self._makers: dict[type, tuple[Observe, Callable[[Any], records.Record]]] = {}
        for report, record, make in (
            (reports.CountsReport, records.JobsCounted, _counted),
            (reports.InterruptReport, records.AttemptInterrupted, self._interrupted),
            (reports.RetryReport, records.RetryScheduled, self._retry),
            (reports.AbandonReport, records.JobAbandoned, self._abandoned),
            (reports.WorkerReadyReport, records.WorkerReady, _worker_ready),
            (reports.WorkerLostReport, records.WorkerDied, _worker_lost),
            (reports.KillReport, records.WorkerKilled, _killed),
            (reports.RestartReport, records.WorkerRestarted, _restarted),
            (reports.RecycleReport, records.WorkerRecycled, _recycled),
        ):
            observe = registry.observer_of(record)
            if observe is not None:
                self._makers[report] = observe, make

    # ---- jobs

    def job_answered(self, job: Job) -> None:
        """Release the admission policies of a job that has its outcome, and notify observers."""
        submission = self._submission_of(job)
        outcome = job.outcome
        record = records.JobAnswered(
            endpoint=job.lane.name,
            request_id=submission.request_id,
            code=outcome.code if isinstance(outcome, PenstockError) else "ok",
            principal=_name_of_caller(submission),
            attempts=job.attempts,
            queue_seconds=job.queue_seconds or 0.0,
            execution_seconds=job.execution_seconds,
            first_chunk_seconds=job.first_chunk_seconds,
        )
        submission.close(record)
        if self._on_answer is not None:
            self._on_answer(record)
        if self.traces is not None:
            self.traces.answered(job)

    def refused(self, submission: Submission, error: PenstockError) -> None:
        """Release the admission policies of a request that never becomes a job, and notify observers."""
        record = records.JobAnswered(
            endpoint=submission.endpoint.name,
            request_id=submission.request_id,
            code=error.code,
            principal=_name_of_caller(submission),
        )
        submission.close(record)
        if self._on_answer is not None:
            self._on_answer(record)
        if self._on_counts is not None:
            self._on_counts(records.JobsCounted(endpoint=submission.endpoint.name, codes={error.code: 1}))

    def job_progressed(self, job: Job, job_id: str, progress: Progress) -> None:
        """Notify observers of a progress report."""
        if self._on_progress is not None:
            self._on_progress(
                records.JobProgressed(
                    endpoint=job.lane.name,
                    request_id=self._submission_of(job).request_id,
                    job_id=job_id,
                    attempt=job.attempts,
                    done=progress.done,
                    total=progress.total,
                    message=progress.message,
                )
            )

    def attempt_ended(self, attempt: Attempt, useful: int, seconds: float) -> None:
        """Notify observers that an attempt has ended; ``useful`` of its jobs still had a caller."""
        if self.traces is not None and attempt.lane.batching is not None:
            self.traces.batch_ended(attempt, useful, seconds)
        if self._on_attempt is not None:
            self._on_attempt(
                records.AttemptEnded(
                    endpoint=attempt.lane.name,
                    worker=attempt.worker.place.name,
                    jobs=len(attempt.jobs),
                    useful=useful,
                    seconds=seconds,
                )
            )

    # ---- the rest

    def report(self, report: AnyReport) -> None:
        """Notify observers of a report of the scheduler."""
        maker = self._makers.get(type(report))
        if maker is not None:
            observe, make = maker
            observe(make(report))
        if self.traces is not None and isinstance(report, reports.RetryReport):
            self.traces.retried(report)
        if isinstance(report, (reports.WorkerLostReport, reports.KillReport)):
            if self.traces is not None:
                self.traces.lost(report.attempts)
            for attempt in report.attempts:  # no result of these will arrive
                self.attempt_ended(attempt, 0, self._time() - attempt.started)

    def report_counts(self, scheduler: Scheduler) -> None:
        """Notify observers of what has been counted since the last report."""
        for report in scheduler.take_counts():
            self.report(report)

    def drain_started(self, request: ShutdownRequest, jobs: int) -> None:
        """Notify observers that a drain has begun with ``jobs`` admitted."""
        if self._on_drain_start is not None:
            self._on_drain_start(
                records.DrainStarted(who=request.who, why=request.why, seconds=request.drain, jobs=jobs)
            )

    def drain_ended(self, request: ShutdownRequest, seconds: float, finished: int, abandoned: int) -> None:
        """Notify observers that no job and no process is left."""
        if self._on_drain_end is not None:
            self._on_drain_end(
                records.DrainEnded(
                    who=request.who, why=request.why, seconds=seconds, finished=finished, abandoned=abandoned
                )
            )

    # ---- records of jobs

    def _interrupted(self, report: reports.InterruptReport) -> records.Record:
        return records.AttemptInterrupted(
            endpoint=report.attempt.lane.name,
            worker=report.attempt.worker.place.name,
            request_id=self._submission_of(report.job).request_id,
            why=report.why,
        )

    def _retry(self, report: reports.RetryReport) -> records.Record:
        return records.RetryScheduled(
            endpoint=report.job.lane.name,
            request_id=self._submission_of(report.job).request_id,
            attempt=report.attempt,
            delay=report.delay,
            code=report.error.code,
        )

    def _abandoned(self, report: reports.AbandonReport) -> records.Record:
        submission = self._submission_of(report.job)
        return records.JobAbandoned(
            endpoint=report.job.lane.name,
            request_id=submission.request_id,
            principal=_name_of_caller(submission),
            state=report.state,
        )


def _name_of_caller(submission: Submission) -> str | None:
    return None if submission.principal is None else submission.principal.name


def _counted(report: reports.CountsReport) -> records.Record:
    counts = report.counts
    return records.JobsCounted(
        endpoint=report.lane.name,
        codes=Counter(counts.codes),
        queue_seconds=counts.queue_seconds,
        execution_seconds=counts.execution_seconds,
        first_chunk_seconds=counts.first_chunk_seconds,
        useful_seconds=counts.useful_seconds,
        wasted_seconds=counts.wasted_seconds,
        batch_sizes=counts.batch_sizes,
    )


def _worker_ready(report: reports.WorkerReadyReport) -> records.Record:
    place = report.worker.place
    return records.WorkerReady(worker=place.name, pool=place.pool.name, seconds=report.seconds)


def _worker_lost(report: reports.WorkerLostReport) -> records.Record:
    place = report.worker.place
    return records.WorkerDied(worker=place.name, pool=place.pool.name, reason=report.reason)


def _killed(report: reports.KillReport) -> records.Record:
    place = report.worker.place
    return records.WorkerKilled(worker=place.name, pool=place.pool.name, reason=report.reason)


def _restarted(report: reports.RestartReport) -> records.Record:
    place = report.place
    return records.WorkerRestarted(worker=place.name, pool=place.pool.name, delay=report.delay)


def _recycled(report: reports.RecycleReport) -> records.Record:
    place = report.worker.place
    return records.WorkerRecycled(worker=place.name, pool=place.pool.name, reason=report.reason)
