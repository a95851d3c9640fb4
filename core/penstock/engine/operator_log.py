"""The operator log: one line for each report that matters to an operator."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from penstock.engine.calls import Call
from penstock.errors import Cancelled, DeadlineExceeded, HandlerError, HookError, PenstockError, WorkerLost
from penstock.eventlog import log_event
from penstock.hooks.submission import Submission
from penstock.scheduler import Attempt, Job, reports
from penstock.scheduler.pools import Worker
from penstock.scheduler.reports import AnyReport
from penstock.wire import Trace

Fields = dict[str, Any]

_MOST_SHOWN = 64

_WHY = {
    "cancel": "its caller has gone",
    "queue": "its queue timeout has passed",
    "total": "its total timeout has passed",
    "execution": "its execution timeout has passed",
    "first_chunk": "its first chunk did not come in time",
    "idle": "its next chunk did not come in time",
    "unread": "its caller does not read",
    "drain": "the drain timeout has passed",
}

_WHY_RECYCLED = {
    reports.ATTEMPTS: "it has run as many attempts as a worker may",
    reports.AGE: "it has reached its age",
    reports.MEMORY: "it uses too much memory",
    reports.INTERRUPT: "user code in it was interrupted",
    reports.CHECK: "its model's check has failed",
}


class OperatorLog:
    """The writer of one engine's lines.

    Parameters
    ----------
    time:
        The engine's clock.
    pid_of:
        Returns the process id of a worker, by the scheduler's id of it; None if it has none yet, or no longer.
    """

    def __init__(self, time: Callable[[], float], pid_of: Callable[[int], int | None]) -> None:
        self._time = time
        self._pid_of = pid_of
        self._shown: set[str] = set()  # the tracebacks of failed starts since a worker was last ready
        self._writers: dict[type, Callable[[Any], None]] = {
            reports.WorkerReadyReport: self._worker_ready,
            reports.PoolReadyReport: _pool_ready,
            reports.PoolFailedReport: self._pool_failed,
            reports.WorkerLostReport: self._worker_lost,
            reports.RestartReport: _restart,
            reports.RecycleReport: self._recycle,
            reports.LimitTooLowReport: self._limit_too_low,
            reports.TakeOverReport: self._take_over,
            reports.ScaleReport: _scale,
            reports.InterruptReport: self._interrupt,
            reports.OverstayReport: self._overstayed,
            reports.KillReport: self._kill,
            reports.PauseReport: _pause,
            reports.ResumeReport: _resume,
            reports.DrainReport: _drain,
            reports.DrainTimeoutReport: _drain_timeout,
            reports.AbandonReport: _abandoned,
            reports.RetryReport: _retry,
        }

    def report(self, report: AnyReport) -> None:
        """Write the line of a report."""
        if type(report) is not reports.CountsReport:  # the numbers are on the status page
            self._writers[type(report)](report)

    # ---- workers

    def _worker_ready(self, report: reports.WorkerReadyReport) -> None:
        self._shown.clear()
        log_event(
            logging.INFO,
            report.event,
            f"worker {report.worker.place.name} ready in {report.seconds:.2f} s",
            **self._worker_fields(report.worker),
            seconds=round(report.seconds, 3),
        )

    def _worker_lost(self, report: reports.WorkerLostReport) -> None:
        what = f"exited by itself while {report.was}"
        if self._pid_of(report.worker.id) is None:
            what = "did not start"
        again, traceback = self._shown_once(report.error)
        log_event(
            logging.ERROR,
            report.event,
            f"worker {report.worker.place.name} {what}: {report.reason}{again}",
            **self._worker_fields(report.worker),
            reason=report.reason,
            **self._held_fields(report.attempts),
            **traceback,
        )

    def _pool_failed(self, report: reports.PoolFailedReport) -> None:
        name = report.pool.name
        again, traceback = self._shown_once(report.error)
        message = f"pool {name} could not be started and was given up{again}"
        log_event(logging.CRITICAL, report.event, message, pool=name, **traceback)

    def _shown_once(self, error: str) -> tuple[str, Fields]:
        """Return the end of a message, and the field with the traceback of a failed start, unless it was shown before.

        A model that cannot be loaded fails in each worker of each pool, again and again.
        """
        if not error:
            return "", {}
        if error in self._shown:
            return ", again, for the same reason", {}
        if len(self._shown) < _MOST_SHOWN:
            self._shown.add(error)
        return "", {"traceback": error}

    def still_loading(self, worker: Worker) -> None:
        """Write that a worker is still setting up."""
        seconds = self._time() - worker.since
        message = f"worker {worker.place.name} is still loading after {seconds:.0f} s"
        log_event(logging.INFO, "still-loading", message, **self._worker_fields(worker), seconds=round(seconds, 1))

    def _recycle(self, report: reports.RecycleReport) -> None:
        when = "when another one is ready" if report.is_ready_first else "now"
        log_event(
            logging.INFO,
            report.event,
            f"worker {report.worker.place.name} is recycled {when}: {_WHY_RECYCLED[report.reason]}",
            **self._worker_fields(report.worker),
            reason=report.reason,
            detail=report.detail or None,
            memory_bytes=report.worker.memory_bytes or None,
        )

    def _limit_too_low(self, report: reports.LimitTooLowReport) -> None:
        name, size = report.worker.place.name, report.worker.memory_bytes
        message = (
            f"worker {name} uses {size} bytes of memory as soon as it is ready, so the limit of {report.limit} "
            "(Recycle(memory=)) has no effect on it; raise the limit"
        )
        fields = self._worker_fields(report.worker)
        log_event(logging.WARNING, report.event, message, **fields, memory_bytes=size, limit=report.limit)

    def _take_over(self, report: reports.TakeOverReport) -> None:
        message = f"worker {report.worker.place.name}, a spare, takes over"
        log_event(logging.INFO, report.event, message, **self._worker_fields(report.worker))

    # ---- the ladder

    def _interrupt(self, report: reports.InterruptReport) -> None:
        log_event(
            logging.WARNING,
            report.event,
            f"{report.attempt.lane.name} is interrupted: {_WHY.get(report.why, report.why)}",
            **self._attempt_fields(report.attempt),
            **_id_fields(report.job),
            why=report.why,
        )

    def _overstayed(self, report: reports.OverstayReport) -> None:
        attempt = report.attempt
        log_event(
            logging.WARNING,
            report.event,
            f"{attempt.lane.name} has not stopped {attempt.lane.timeouts.grace:g} s after its interrupt",
            **self._attempt_fields(attempt),
            **_all_id_fields([attempt]),
        )

    def _kill(self, report: reports.KillReport) -> None:
        log_event(
            logging.INFO if report.is_routine else logging.ERROR,
            report.event,
            f"worker {report.worker.place.name} is killed: {report.reason}",
            **self._worker_fields(report.worker),
            reason=report.reason,
            **self._held_fields(report.attempts),
        )

    # ---- fields

    def _worker_fields(self, worker: Worker) -> Fields:
        return {"worker": worker.place.name, "pid": self._pid_of(worker.id)}

    def _attempt_fields(self, attempt: Attempt) -> Fields:
        return {
            "endpoint": attempt.lane.name,
            **self._worker_fields(attempt.worker),
            "attempt_id": attempt.id,
            "running_seconds": rounded(self._time() - attempt.started),
        }

    def _held_fields(self, attempts: list[Attempt]) -> Fields:
        """Return the fields about the attempts that a worker held when it exited; none if it held no attempt."""
        if not attempts:
            return {}
        now = self._time()
        return {
            "endpoints": sorted({attempt.lane.name for attempt in attempts}),
            **_all_id_fields(attempts),
            "running_seconds": rounded(max(now - attempt.started for attempt in attempts)),
        }


# ---- lines that need no clock and no process


def _pool_ready(report: reports.PoolReadyReport) -> None:
    pool = report.pool
    log_event(
        logging.INFO,
        report.event,
        f"pool {pool.name} ready in {report.seconds:.2f} s",
        pool=pool.name,
        workers=len(pool.places),
        seconds=round(report.seconds, 3),
    )


def _restart(report: reports.RestartReport) -> None:
    place = report.place
    when = f"in {report.delay:g} s" if report.delay else "now"
    log_event(
        logging.INFO,
        report.event,
        f"worker {place.name} is replaced {when}",
        worker=place.name,
        backoff=report.delay,
        failures=place.failures,
        restarts=place.restarts,
    )


def _scale(report: reports.ScaleReport) -> None:
    pool = report.pool
    message = f"pool {pool.name} is scaled from {report.before} to {pool.target} workers"
    log_event(logging.INFO, report.event, message, pool=pool.name, workers=pool.target, who=report.who or None)


def _pause(report: reports.PauseReport) -> None:
    message = f"taken out of rotation: new work is refused, {report.jobs} jobs go on"
    log_event(logging.INFO, report.event, message, who=report.who, why=report.why or None, jobs=report.jobs)


def _resume(report: reports.ResumeReport) -> None:
    message = "back in rotation: new work is accepted again"
    log_event(logging.INFO, report.event, message, who=report.who, why=report.why or None, jobs=report.jobs)


def _drain(report: reports.DrainReport) -> None:
    seconds = max(0.0, round(report.seconds, 3))
    message = f"draining: {report.jobs} jobs have {seconds:g} s to finish, new work is refused"
    log_event(logging.INFO, report.event, message, jobs=report.jobs, seconds=seconds)


def _drain_timeout(report: reports.DrainTimeoutReport) -> None:
    message = f"the drain timeout has passed: {report.jobs} jobs are stopped"
    log_event(logging.WARNING, report.event, message, jobs=report.jobs)


def _abandoned(report: reports.AbandonReport) -> None:
    name = report.job.lane.name
    message = f"a job of {name} is abandoned: {report.state} at the end of the drain"
    log_event(logging.DEBUG, report.event, message, endpoint=name, **_id_fields(report.job))


def _retry(report: reports.RetryReport) -> None:
    """Write that a job has failed and is tried again: if that succeeds, no other line mentions the failure."""
    job, error = report.job, report.error
    when = f"in {report.delay:.3g} s" if report.delay else "at once"
    cause, reason = error.code, "its worker was lost"
    if isinstance(error, HandlerError):
        cause = error.exception_type
        reason = f"it raised {cause}: {error.detail}"
    log_event(
        logging.INFO,
        report.event,
        f"{job.lane.name} is tried again {when}: {reason}",
        endpoint=job.lane.name,
        **_id_fields(job),
        attempt=report.attempt,
        delay=round(report.delay, 4),
        cause=cause,
    )


def log_failure(call: Call, error: PenstockError) -> None:
    """Write that a job was answered with an error. Most errors are the caller's concern, and have no line."""
    fields: Fields = {"endpoint": call.lane.name, **_id_fields(call)}
    if isinstance(error, HandlerError):
        message = f"{call.lane.name} raised {error.exception_type}: {error.detail}"
        log_event(logging.ERROR, "handler-error", message, **fields, attempt=call.attempts, traceback=error.traceback)
    elif isinstance(error, (DeadlineExceeded, WorkerLost)):
        log_event(
            logging.WARNING,
            "job-lost" if isinstance(error, WorkerLost) else error.code,
            error.detail,
            **fields,
            attempt=call.attempts,
            queue_seconds=rounded(call.queue_seconds),
            execution_seconds=rounded(call.execution_seconds),
        )
    elif isinstance(error, Cancelled):
        log_event(logging.DEBUG, error.code, error.detail, **fields)
    elif isinstance(error, HookError):
        _hook_error(call.submission, error)


def log_refusal(submission: Submission, error: PenstockError) -> None:
    """Write that a request was refused, if that is the fault of a plug-in. Other refusals have no line."""
    if isinstance(error, HookError):
        _hook_error(submission, error)


def internal_error(error: BaseException, request_id: str, trace: Trace | None = None) -> PenstockError:
    """Log an unexpected exception in full; return an error that shows nothing of it."""
    log_event(
        logging.ERROR,
        "internal-error",
        f"request {request_id} failed inside the engine: {type(error).__name__}: {error}",
        request_id=request_id,
        **({} if trace is None else trace.log_fields()),
        traceback="".join(traceback.format_exception(error)),
    )
    return PenstockError("The server failed. Its log has the reason, under this request id.")


def _hook_error(submission: Submission, error: HookError) -> None:
    """Write which request a plug-in has failed; the traceback is in a line of its own, once a minute."""
    message = f"{submission.endpoint.name} was answered with an error: {error.detail}: {error.reason}"
    fields = {"endpoint": submission.endpoint.name, **_ids_of(submission)}
    log_event(logging.ERROR, error.code, message, **fields)


def _ids_of(submission: Submission) -> Fields:
    """Return the fields by which a request is found again: its id, and its trace if it has one."""
    fields: Fields = {"request_id": submission.request_id or None}
    if submission.trace is not None:
        fields |= submission.trace.log_fields()
    return fields


def _id_fields(job: Job) -> Fields:
    """Return the same for a job's request. Its id is None if the program around the engine names none."""
    return _ids_of(job.submission) if isinstance(job, Call) else {"request_id": None}


def _all_id_fields(attempts: list[Attempt]) -> Fields:
    """Return the same for all jobs of these attempts."""
    found = [_id_fields(job) for attempt in attempts for job in attempt.jobs]
    fields: Fields = {"request_ids": [ids["request_id"] for ids in found]}
    if any("trace_id" in ids for ids in found):
        fields["trace_ids"] = [ids.get("trace_id") for ids in found]
    return fields


def rounded(seconds: float | None) -> float | None:
    """Return a duration with the precision that a person reads; None stays None."""
    return None if seconds is None else round(seconds, 4)
