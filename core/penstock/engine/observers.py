"""From what happens in the engine to the records that plug-ins observe. Made only where somebody wants them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.errors import PenstockError
from penstock.hooks import records

if TYPE_CHECKING:
    from penstock.engine.calls import Call
    from penstock.hooks.records import ShutdownRequest
    from penstock.hooks.registry import Registry
    from penstock.hooks.submission import Submission
    from penstock.scheduler import Attempt, Job

Fields = dict[str, Any]
Tell = Callable[[Any], None]


class Observers:
    """Tells the observers of one engine.

    Parameters
    ----------
    registry:
        Who wants to know what.
    time:
        The engine's clock.
    """

    def __init__(self, registry: Registry, time: Callable[[], float]) -> None:
        self._registry = registry
        self._time = time
        self.tells_answers = registry.observer_of(records.JobAnswered) is not None
        self._tell_answered = registry.observer_of(records.JobAnswered)
        self.tell_attempt = registry.observer_of(records.AttemptEnded)
        self._makers: dict[str, tuple[Tell, Callable[[Fields], records.Record]]] = {}
        for event, (kind, make) in _RECORDS.items():
            tell = registry.observer_of(kind)
            if tell is not None:
                self._makers[event] = tell, make

    # ---- jobs

    def answered(self, call: Call, job: Job, outcome: object, submission: Submission | None) -> None:
        """A job has its outcome: tell those who let it in, if they want to know, and those who watch."""
        record = records.JobAnswered(
            endpoint=call.endpoint.name,
            request_id=call.request_id,
            code=outcome.code if isinstance(outcome, PenstockError) else "ok",
            principal=call.principal,
            attempts=job.attempts,
            queue_seconds=call.queue_seconds or 0.0,
            execution_seconds=call.execution_seconds,
            first_chunk_seconds=job.first_chunk_at - job.started if job.first_chunk_at else None,
        )
        if submission is not None:
            submission.close(record)
        if self._tell_answered is not None:
            self._tell_answered(record)

    def refused(self, submission: Submission, error: PenstockError) -> None:
        """A request was refused: it never becomes a job."""
        record = records.JobAnswered(
            endpoint=submission.endpoint.name,
            request_id=submission.request_id,
            code=error.code,
            principal=None if submission.principal is None else submission.principal.name,
        )
        submission.close(record)
        if self._tell_answered is not None:
            self._tell_answered(record)

    def attempt_ended(self, attempt: Attempt, useful: int, seconds: float) -> None:
        """There is no more to come of an attempt, of whose jobs ``useful`` have got something out of it."""
        if self.tell_attempt is not None:
            self.tell_attempt(
                records.AttemptEnded(
                    endpoint=attempt.lane.name,
                    worker=attempt.worker.place.name,
                    jobs=len(attempt.jobs),
                    useful=useful,
                    seconds=seconds,
                )
            )

    # ---- the rest

    def report(self, event: str, fields: Fields) -> None:
        """Tell of one of the scheduler's reports."""
        maker = self._makers.get(event)
        if maker is not None:
            tell, make = maker
            tell(make(fields))
        if event in _LOSSES:  # nobody else will speak of what was in the worker
            for attempt in fields["attempts"]:
                self.attempt_ended(attempt, 0, self._time() - attempt.started)

    def drain_started(self, request: ShutdownRequest, jobs: int) -> None:
        """The engine takes nothing new any more."""
        tell = self._registry.observer_of(records.DrainStarted)
        if tell is not None:
            tell(records.DrainStarted(who=request.who, why=request.why, seconds=request.drain, jobs=jobs))

    def drain_ended(self, request: ShutdownRequest, seconds: float, finished: int, abandoned: int) -> None:
        """Nothing is left of the engine."""
        tell = self._registry.observer_of(records.DrainEnded)
        if tell is not None:
            tell(
                records.DrainEnded(
                    who=request.who, why=request.why, seconds=seconds, finished=finished, abandoned=abandoned
                )
            )


_LOSSES = frozenset({"worker-lost", "kill"})


def _interrupted(fields: Fields) -> records.Record:
    attempt = fields["attempt"]
    return records.AttemptInterrupted(
        endpoint=attempt.lane.name,
        worker=attempt.worker.place.name,
        request_id=fields["job"].payload.request_id,
        why=fields["why"],
    )


def _retry(fields: Fields) -> records.Record:
    job = fields["job"]
    return records.RetryScheduled(
        endpoint=job.lane.name,
        request_id=job.payload.request_id,
        attempt=fields["attempt"],
        delay=fields["delay"],
        code=fields["error"].code,
    )


def _abandoned(fields: Fields) -> records.Record:
    job = fields["job"]
    call: Call = job.payload
    return records.JobAbandoned(
        endpoint=job.lane.name, request_id=call.request_id, principal=call.principal, state=fields["state"]
    )


def _worker_ready(fields: Fields) -> records.Record:
    place = fields["worker"].place
    return records.WorkerReady(worker=place.name, pool=place.pool.name, seconds=fields["seconds"])


def _worker_lost(fields: Fields) -> records.Record:
    place = fields["worker"].place
    return records.WorkerDied(worker=place.name, pool=place.pool.name, reason=fields["reason"])


def _killed(fields: Fields) -> records.Record:
    place = fields["worker"].place
    return records.WorkerKilled(worker=place.name, pool=place.pool.name, reason=fields["reason"])


def _restarted(fields: Fields) -> records.Record:
    place = fields["place"]
    return records.WorkerRestarted(worker=place.name, pool=place.pool.name, delay=fields["delay"])


_RECORDS: dict[str, tuple[type[records.Record], Callable[[Fields], records.Record]]] = {
    "interrupt": (records.AttemptInterrupted, _interrupted),
    "retry": (records.RetryScheduled, _retry),
    "abandoned": (records.JobAbandoned, _abandoned),
    "worker-ready": (records.WorkerReady, _worker_ready),
    "worker-lost": (records.WorkerDied, _worker_lost),
    "kill": (records.WorkerKilled, _killed),
    "restart": (records.WorkerRestarted, _restarted),
}
"""The scheduler's reports by their names, with the records that they become."""
