"""What an operator reads of the engine: event lines, and the status page."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.errors import Cancelled, DeadlineExceeded, HandlerError, PenstockError, WorkerLost
from penstock.eventlog import log_event
from penstock.scheduler.states import STARTING

if TYPE_CHECKING:
    from penstock.engine.calls import Call
    from penstock.engine.engine import Engine
    from penstock.scheduler import Attempt, Job
    from penstock.scheduler.pools import Place, Worker, WorkerPool

Fields = dict[str, Any]

_WHY = {
    "cancel": "its caller has gone",
    "queue": "its queue time-out has passed",
    "total": "its total time-out has passed",
    "execution": "its execution time-out has passed",
    "first_chunk": "its first chunk has not come in time",
    "idle": "its next chunk has not come in time",
    "unread": "its caller does not read",
    "drain": "the drain time-out has passed",
}


class Reporter:
    """Writes the lines of one engine, and makes its status page."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lines: dict[str, Callable[[Fields], None]] = {
            "worker-ready": self._worker_ready,
            "pool-ready": self._pool_ready,
            "pool-failed": self._pool_failed,
            "worker-lost": self._worker_lost,
            "restart": self._restart,
            "interrupt": self._interrupt,
            "overstayed": self._overstayed,
            "kill": self._kill,
            "pause": self._pause,
            "resume": self._resume,
            "drain": self._drain,
            "drain-timeout": self._drain_timeout,
            "abandoned": self._abandoned,
            "retry": self._retry,
        }

    def report(self, event: str, fields: Fields) -> None:
        """Write the line of a scheduler's ``Report``."""
        self._lines[event](fields)

    # ---- workers and pools

    def _worker_ready(self, fields: Fields) -> None:
        worker: Worker = fields["worker"]
        log_event(
            logging.INFO,
            "worker-ready",
            f"worker {worker.place.name} ready in {fields['seconds']:.2f} s",
            **self._worker_fields(worker),
            seconds=round(fields["seconds"], 3),
        )

    def _pool_ready(self, fields: Fields) -> None:
        pool: WorkerPool = fields["pool"]
        log_event(
            logging.INFO,
            "pool-ready",
            f"pool {pool.name} ready in {fields['seconds']:.2f} s",
            pool=pool.name,
            workers=len(pool.places),
            seconds=round(fields["seconds"], 3),
        )

    def _pool_failed(self, fields: Fields) -> None:
        name = fields["pool"].name
        message = f"pool {name} could not be started, and is given up"
        log_event(logging.CRITICAL, "pool-failed", message, pool=name, traceback=fields["error"])

    def _worker_lost(self, fields: Fields) -> None:
        worker: Worker = fields["worker"]
        log_event(
            logging.ERROR,
            "worker-lost",
            f"worker {worker.place.name} ended by itself while {fields['was']}: {fields['reason']}",
            **self._worker_fields(worker),
            reason=fields["reason"],
            **self._held_fields(fields["attempts"]),
            **({"traceback": fields["error"]} if fields["error"] else {}),
        )

    def _restart(self, fields: Fields) -> None:
        place: Place = fields["place"]
        when = f"in {fields['delay']:g} s" if fields["delay"] else "now"
        log_event(
            logging.INFO,
            "restart",
            f"worker {place.name} is replaced {when}",
            worker=place.name,
            backoff=fields["delay"],
            failures=place.failures,
            restarts=place.restarts,
        )

    def still_loading(self) -> bool:
        """Say which workers are still setting up; False if none is."""
        now = self._engine.reactor.time()
        starting = [worker for worker in self._engine.scheduler.workers.values() if worker.state is STARTING]
        for worker in starting:
            seconds = now - worker.since
            message = f"worker {worker.place.name} is still loading after {seconds:.0f} s"
            log_event(logging.INFO, "still-loading", message, **self._worker_fields(worker), seconds=round(seconds, 1))
        return bool(starting)

    # ---- the ladder

    def _interrupt(self, fields: Fields) -> None:
        attempt: Attempt = fields["attempt"]
        job: Job = fields["job"]
        why = _WHY.get(fields["why"], fields["why"])
        log_event(
            logging.WARNING,
            "interrupt",
            f"{attempt.lane.name} is interrupted: {why}",
            **self._attempt_fields(attempt),
            job=job.payload.request_id,
            why=fields["why"],
        )

    def _overstayed(self, fields: Fields) -> None:
        attempt: Attempt = fields["attempt"]
        log_event(
            logging.WARNING,
            "overstayed",
            f"{attempt.lane.name} has not stopped {attempt.lane.timeouts.grace:g} s after its interrupt",
            **self._attempt_fields(attempt),
            jobs=_job_ids([attempt]),
        )

    def _kill(self, fields: Fields) -> None:
        worker: Worker = fields["worker"]
        message = f"worker {worker.place.name} is killed: {fields['reason']}"
        log_event(
            logging.ERROR,
            "kill",
            message,
            **self._worker_fields(worker),
            reason=fields["reason"],
            **self._held_fields(fields["attempts"]),
        )

    def _pause(self, fields: Fields) -> None:
        message = f"taken out of rotation: nothing new is taken, {fields['jobs']} jobs go on"
        log_event(logging.INFO, "pause", message, **fields)

    def _resume(self, fields: Fields) -> None:
        log_event(logging.INFO, "resume", "back in rotation: new work is taken again", **fields)

    def _drain(self, fields: Fields) -> None:
        jobs, seconds = fields["jobs"], max(0.0, round(fields["seconds"], 3))
        message = f"draining: {jobs} jobs to finish within {seconds:g} s, nothing new is taken"
        log_event(logging.INFO, "drain", message, jobs=jobs, seconds=seconds)

    def _drain_timeout(self, fields: Fields) -> None:
        message = f"the drain time-out has passed: {fields['jobs']} jobs are stopped"
        log_event(logging.WARNING, "drain-timeout", message, jobs=fields["jobs"])

    def _abandoned(self, fields: Fields) -> None:
        job: Job = fields["job"]
        message = f"a job of {job.lane.name} is given up: {fields['state']} at the end of the drain"
        log_event(logging.DEBUG, "abandoned", message, endpoint=job.lane.name, job=job.payload.request_id)

    # ---- jobs

    def failed(self, call: Call, job: Job, error: PenstockError) -> None:
        """A job has been answered with an error. Most are the caller's affair, and no line is written."""
        if isinstance(error, HandlerError):
            log_event(
                logging.ERROR,
                "handler-error",
                f"{call.endpoint.name} raised {error.exception_type}: {error.detail}",
                endpoint=call.endpoint.name,
                job=call.request_id,
                attempt=job.attempts,
                traceback=error.traceback,
            )
        elif isinstance(error, (DeadlineExceeded, WorkerLost)):
            log_event(
                logging.WARNING,
                "job-lost" if isinstance(error, WorkerLost) else error.code,
                error.detail,
                endpoint=call.endpoint.name,
                job=call.request_id,
                attempt=job.attempts,
                queue_seconds=_rounded(call.queue_seconds),
                execution_seconds=_rounded(call.execution_seconds),
            )
        elif isinstance(error, Cancelled):
            log_event(logging.DEBUG, error.code, error.detail, endpoint=call.endpoint.name, job=call.request_id)

    def _retry(self, fields: Fields) -> None:
        """A job has failed, and is tried again: if that succeeds, nothing else tells that it had failed."""
        job: Job = fields["job"]
        error: PenstockError = fields["error"]
        when = f"in {fields['delay']:.3g} s" if fields["delay"] else "at once"
        cause, what = error.code, "its worker was lost"
        if isinstance(error, HandlerError):
            cause = error.exception_type
            what = f"it raised {cause}: {error.detail}"
        log_event(
            logging.INFO,
            "retry",
            f"{job.lane.name} is tried again {when}: {what}",
            endpoint=job.lane.name,
            job=job.payload.request_id,
            attempt=fields["attempt"],
            delay=round(fields["delay"], 4),
            cause=cause,
        )

    # ---- fields and status

    def _worker_fields(self, worker: Worker) -> Fields:
        link = self._engine.links.get(worker.id)
        return {"worker": worker.place.name, "pid": link.pid if link else None}

    def _attempt_fields(self, attempt: Attempt) -> Fields:
        return {
            "endpoint": attempt.lane.name,
            **self._worker_fields(attempt.worker),
            "attempt": attempt.id,
            "running_seconds": _rounded(self._engine.reactor.time() - attempt.started),
        }

    def _held_fields(self, attempts: list[Attempt]) -> Fields:
        """What a worker that has come to its end still had in hand; nothing if it had nothing."""
        if not attempts:
            return {}
        now = self._engine.reactor.time()
        return {
            "endpoints": sorted({attempt.lane.name for attempt in attempts}),
            "jobs": _job_ids(attempts),
            "running_seconds": _rounded(max(now - attempt.started for attempt in attempts)),
        }

    def status(self) -> Fields:
        """See ``Engine.status``."""
        scheduler = self._engine.scheduler
        return {
            "ready": not self._engine.unready_reasons(),
            "reasons": self._engine.unready_reasons(),
            "draining": scheduler.is_draining,
            "plugins": self._engine.registry.status(),
            "pools": {name: self._pool_status(pool) for name, pool in scheduler.pools.items()},
            "endpoints": {name: lane.statistics() for name, lane in scheduler.lanes.items()},
        }

    def _pool_status(self, pool: WorkerPool) -> Fields:
        return {
            "ready": pool.is_ready,
            "failure": pool.failure,
            "workers": [self._place_status(place) for place in pool.places],
        }

    def _place_status(self, place: Place) -> Fields:
        worker = place.worker
        known = {"id": place.name, "restarts": place.restarts}
        if worker is None:
            return known | {"pid": None, "state": "restarting", "since": None, "attempts": []}
        link = self._engine.links.get(worker.id)
        return known | {
            "pid": link.pid if link else None,
            "state": worker.state,
            "since": _rounded(self._engine.reactor.time() - worker.since),
            "attempts": [self._attempt_status(attempt) for attempt in worker.attempts.values()],
        }

    def _attempt_status(self, attempt: Attempt) -> Fields:
        return {
            "id": attempt.id,
            "endpoint": attempt.lane.name,
            "state": attempt.state,
            "jobs": [job.payload.request_id for job in attempt.jobs],
            "seconds": _rounded(self._engine.reactor.time() - attempt.started),
        }


def _job_ids(attempts: list[Attempt]) -> list[str]:
    return [job.payload.request_id for attempt in attempts for job in attempt.jobs]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
